"""Opening a directory as a one-label sequence classifier of transformers, with its head."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from assay.errors import ModelError, ResourceError, first_line
from assay.model.foreign import ForeignHead, foreign_head, foreign_settings, unread_head
from assay.model.foreign.directory import ForeignDirectory
from assay.model.head import widen
from assay.model.metadata import METADATA_FILE, Metadata
from assay.model.rewards import is_out_of_memory
from assay.notices import notice, warn

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True, slots=True)
class Opened:
    """A classifier, the modules of its head that were not in the files, and its reward offset."""

    classifier: PreTrainedModel
    fresh: list[str]
    offset: float = 0.0


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and load reports off the terminal; errors still raise."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def open_classifier(
    path: Path, dtype: torch.dtype | str, *, keep_head: bool = True, **loading: Any
) -> Opened:
    """The classifier of a directory, with its own head or the one that another program wrote.

    Args:
        path: a plain directory, or one of another program (`assay.model.foreign`).
        dtype: of the weights; `auto` as saved. A foreign head is float32 at least.
        keep_head: False reads no foreign head and minds none that cannot be read.
        loading: what else transformers' `from_pretrained` takes.

    Raises:
        ModelError: no classifier can be made of it, or it holds a head that cannot be read.
        ResourceError: out of memory.
    """
    own = Metadata.read(path)
    head = foreign_head(path) if own is None and keep_head else None
    classifier, report = _from_pretrained(path, dtype, loading)
    for key in foreign_settings(path) if own is None else ():
        # Of a head that is not here: a program that read them would apply them to this one.
        vars(classifier.config).pop(key, None)
    backbone = f"{classifier.base_model_prefix}."
    missing, unknown = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    # A pooler is of an encoder's head.
    refuse_gaps(path, [k for k in missing if k.startswith(backbone) and ".pooler." not in k])
    extra = [k for k in unknown if re.match(rf"{backbone}(?!pooler\.).*weight$", k)]
    if extra:
        warn(
            f"{path}: {len(extra)} weights in its files have no place in the model ({extra[0]}): "
            "its config.json may be another model's"
        )
    fresh = sorted({key.removeprefix(backbone).split(".")[0] for key in missing})
    if head is not None:
        put_head(classifier, head, path)
        return Opened(classifier, [name for name in fresh if name != "score"], head.offset)
    unread = unread_head(unknown)
    if keep_head and fresh and unread is not None:
        raise ModelError(
            f"holds a head that Assay cannot read ({unread})",
            where=path,
            mend="save it as safetensors with score.weight [1, width], or train a new one with "
            "model.head: new",
        )
    offset = own.reward_offset if own is not None and keep_head else 0.0
    say_offset(path, offset)
    return Opened(classifier, fresh, offset)


def say_offset(path: Path, offset: float) -> None:
    """Say, where there is one, that other programs give rewards without it."""
    if offset:
        notice(
            f"{path}: rewards include the offset {offset:+.6g} of {METADATA_FILE}, which other "
            "programs do not add"
        )


def put_head(classifier: PreTrainedModel, head: ForeignHead, path: Path) -> None:
    """Give a classifier the row of a foreign head, float32 at least, and say so.

    Raises:
        ModelError: the classifier has no place for it.
    """
    score = getattr(classifier, "score", None)
    if not isinstance(score, nn.Linear) or score.weight.shape != head.row_1D.shape:
        raise ModelError(
            f"{head.origin}'s head of width {head.row_1D.shape[1]} does not fit "
            f"{type(classifier).__name__}",
            where=path,
            mend="fetch the model again, or name its own base",
        )
    widen(classifier)
    score.weight.data.copy_(head.row_1D)
    said = f", whose offset {head.offset:+.6g} only Assay adds" if head.offset else ""
    notice(f"{path}: read the reward head of {head.origin}{said}")


def config_of(path: Path) -> PretrainedConfig:
    """The configuration of a one-label classifier; dropout is off.

    Raises:
        ModelError: it cannot be read, transformers does not know the architecture, or it has
            several labels.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, __version__

    kind = ForeignDirectory(path).config.get("model_type")
    if isinstance(kind, str) and kind not in CONFIG_MAPPING:
        raise ModelError(
            f"transformers {__version__} has no architecture '{kind}', and code of a directory "
            "is never run",
            where=path,
            mend="take a newer transformers, or register its classes in a plug-in",
        )
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(str(path), trust_remote_code=False)
        except Exception as error:  # Anything may come out of somebody else's class.
            raise ModelError(
                f"its config.json cannot be read ({first_line(error)})",
                where=path,
                mend="fetch the model again",
            ) from None
    architectures = getattr(config, "architectures", None) or []
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        if config.num_labels != 1:
            raise ModelError(
                f"classifies into {config.num_labels} labels; a reward model has one",
                where=path,
                mend="start from the base model, or from a one-label classifier",
            )
    else:
        config.num_labels = 1
    for key, value in vars(config.get_text_config()).items():
        # Dropout, and noise in routers, would make rewards depend on chance: off.
        if re.search("drop|jitter", key) and isinstance(value, float):
            setattr(config.get_text_config(), key, 0.0)
    config.use_cache = False
    return config


def _from_pretrained(
    path: Path, dtype: torch.dtype | str, loading: dict[str, Any]
) -> tuple[PreTrainedModel, dict[str, Any]]:
    from transformers import AutoModelForSequenceClassification

    config = config_of(path)
    with quiet_transformers():
        try:
            classifier, report = AutoModelForSequenceClassification.from_pretrained(
                str(path),
                config=config,
                dtype=dtype,
                output_loading_info=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # Reported below, by name.
                **loading,
            )
        except SafetensorError as error:
            raise ModelError(
                f"its weights cannot be read ({error})", where=path, mend="fetch the model again"
            ) from None
        except ImportError as error:  # Of what quantised weights need.
            raise ModelError(
                f"its weights need another package ({first_line(error)})",
                where=path,
                mend="install it, or take the model that is not quantised",
            ) from None
        except Exception as error:  # Anything may come out of somebody else's class.
            if is_out_of_memory(error):
                raise ResourceError("out of memory while loading", where=path) from None
            raise ModelError(
                f"cannot be loaded as a sequence classifier ({first_line(error)})",
                where=path,
                mend="fetch the model again"
                if isinstance(error, OSError)
                else "Assay needs a decoder or encoder with a ForSequenceClassification class",
            ) from None
    if report["mismatched_keys"]:
        key, saved, wanted = sorted(report["mismatched_keys"])[0]
        raise ModelError(
            f"a weight has the wrong shape: {key} is {list(saved)}, not {list(wanted)}",
            where=path,
            mend="its config.json belongs to another model; fetch the model again",
        )
    return classifier, report


def refuse_gaps(path: Path, lacking: list[str]) -> None:
    """Refuse files that lack weights, which transformers would draw.

    Raises:
        ModelError: names the first.
    """
    if lacking:
        raise ModelError(
            f"weights are missing from its files: {', '.join(lacking[:3])}"
            + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""),
            where=path,
            mend="fetch the model again",
        )
