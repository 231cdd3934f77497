"""MindRecord files with the seven fields that mindformers' `RewardModelDataset` reads.

The fields are those that MindRLHF's converter for CValues-Comparison gives; docs/convert.md says
where and why this one decides otherwise.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.data.encoding import rendered_or_refused
from assay.data.records import Comparison, Group, Message, Response
from assay.data.rendering import Rendered, Renderer, TokenIds
from assay.data.sources import DataSource
from assay.data.templates import registered_templates, resolve_template
from assay.data.writers.account import Account
from assay.data.writers.converting import (
    ConvertOptions,
    check_dropped,
    check_written,
    groups_of,
    put_bad_rows_aside,
)
from assay.data.writers.output import folder_beside
from assay.data.writers.registry import Detail, LeftOut, details, unused_answers
from assay.errors import ConfigError, OutputError, first_line
from assay.files import check_output, output_errors
from assay.notices import notice

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAME = "mindrecord"
SUFFIX = ".mindrecord"

REFUSED = "refused by the template"
IDENTICAL = "identical after rendering"
PADDING = "padding token inside the text (give another --pad-token-id)"

SCHEMA: dict[str, dict[str, Any]] = {
    "chosen_input_ids": {"type": "int32", "shape": [-1]},
    "chosen_attention_mask": {"type": "int32", "shape": [-1]},
    "rejected_input_ids": {"type": "int32", "shape": [-1]},
    "rejected_attention_mask": {"type": "int32", "shape": [-1]},
    "position_id": {"type": "int32", "shape": [-1]},
    "loss_mask": {"type": "int32", "shape": [-1]},
    "end_ind": {"type": "int64"},
}

MAX_DROPPED = 0.05
"""The part of the comparisons that may be missing unless the user says otherwise."""

_CHUNK = 256

Sample = dict[str, Any]
"""Six int32 arrays of `seq_length` and the integer `end_ind`."""


@dataclass(frozen=True, slots=True)
class MindRecordSummary:
    """The account of a conversion and its first sample."""

    account: Account
    sample: Sample


def plain_renderer(tokenizer: PreTrainedTokenizerBase, template: str) -> Renderer:
    """Renders with a template and adds no begin and no end token to a registered one.

    A chat template of the tokenizer's own, or of a file, writes what it writes.

    Raises:
        TemplateError: there is no such template.
    """
    resolved = resolve_template(template, tokenizer, end="none")
    if template in registered_templates():
        resolved = replace(resolved, jinja=resolved.jinja.removeprefix("{{ bos_token }}"))
    return Renderer(tokenizer, resolved)


def padding_of(tokenizer: PreTrainedTokenizerBase, pad_token_id: int | None) -> int:
    """The padding id: the one given, else the tokenizer's padding token, else its end token.

    Raises:
        ConfigError: there is none, or the vocabulary does not hold it.
    """
    for token in (pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is None:
            continue
        if not 0 <= token < len(tokenizer):
            raise ConfigError(
                f"padding token {token} is not in the vocabulary of {len(tokenizer)} tokens",
                where="--pad-token-id",
                mend=f"give one from 0 to {len(tokenizer) - 1} that no text holds",
            )
        if token == tokenizer.eos_token_id:
            notice(
                f"padding is the end token {token}: pairs whose texts hold it are left out; "
                "--pad-token-id takes another"
            )
        return int(token)
    raise ConfigError("the tokenizer has no padding token", mend="give --pad-token-id")


def padding_told(tokenizer: PreTrainedTokenizerBase, token: int) -> tuple[str, str, str]:
    """The padding token as a line of the table."""
    whose = {tokenizer.pad_token_id: "", tokenizer.eos_token_id: ", the end token"}
    name = tokenizer.convert_ids_to_tokens(token)
    return "padding", f"{name!r}{whose.get(token, ', as given')}", str(token)


def sample_of(chosen: TokenIds, rejected: TokenIds, seq_length: int, pad_token_id: int) -> Sample:
    """The seven fields of two different sequences of at most `seq_length` tokens.

    `loss_mask` is 1 from the first token in which the padded sequences differ up to the end of the
    longer one, which is `end_ind`.

    Raises:
        ValueError: one is longer than `seq_length`, or both are the same.
    """
    chosen_ids = _padded(chosen, seq_length, pad_token_id)
    rejected_ids = _padded(rejected, seq_length, pad_token_id)
    differs = np.flatnonzero(chosen_ids != rejected_ids)
    if not len(differs):
        raise ValueError("both sequences are the same")
    end = max(len(chosen), len(rejected))
    place = np.arange(seq_length, dtype=np.int32)
    return {
        "chosen_input_ids": chosen_ids,
        "chosen_attention_mask": (place < len(chosen)).astype(np.int32),
        "rejected_input_ids": rejected_ids,
        "rejected_attention_mask": (place < len(rejected)).astype(np.int32),
        "position_id": place,
        "loss_mask": ((place >= differs[0]) & (place < end)).astype(np.int32),
        "end_ind": end,
    }


def convert_to_mindrecord(
    sources: Sequence[DataSource],
    renderer: Renderer,
    output: Path,
    options: ConvertOptions,
    *,
    seq_length: int,
    pad_token_id: int,
    max_dropped: float = MAX_DROPPED,
) -> MindRecordSummary:
    """Write the comparisons of the sources, tokenised and padded on the right.

    Two files come about, `output` and its index `output.db`; MindSpore refuses renamed ones.

    Raises:
        ConfigError: the name of the output is not one that is read, or MindSpore is missing.
        DataError: a source cannot be read, holds bad rows, nothing of it can be written, or more
            than the part `max_dropped` of the comparisons would be missing.
        OutputError: the output is there already, or cannot be written.
    """
    if output.suffix != SUFFIX:
        raise ConfigError(
            "RewardModelDataset finds files by their ending",
            where=output,
            mend=f"name it {output.stem or 'train'}{SUFFIX}",
        )
    check_output(output, overwrite=options.overwrite)
    writing = _file_writer()
    account = Account()
    sample: Sample | None = None
    with folder_beside(output) as folder:
        with _refusals(output):
            file = writing(file_name=str(folder / output.name), shard_num=1, overwrite=True)
            file.add_schema(SCHEMA, "preference pairs for RewardModelDataset")
        groups = groups_of(sources, account, options)
        while chunk := list(islice(groups, _CHUNK)):
            samples = list(_samples(chunk, renderer, account, seq_length, pad_token_id))
            if samples:
                sample = sample or samples[0]
                with _refusals(output):
                    file.write_raw_data(samples)
        check_written(account, sources, NAME)
        check_dropped(account, sources, max_dropped)
        with _refusals(output):
            file.commit()
        with output_errors(output):
            _move(folder, output)
    put_bad_rows_aside(account, output, options)
    assert sample is not None
    return MindRecordSummary(account, sample)


def show_sample(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> None:
    """Print one sample: ids without the padding, their text, and where the loss is taken."""
    for name in ("chosen", "rejected"):
        count = int(sample[f"{name}_attention_mask"].sum())
        ids = sample[f"{name}_input_ids"][:count].tolist()
        print(f"--- {name}: {count} tokens, {len(sample['position_id']) - count} of padding ---")
        print(" ".join(map(str, ids)))
        print(tokenizer.decode(ids))
    places = np.flatnonzero(sample["loss_mask"])
    print(
        f"--- loss_mask: 1 from token {places[0]} to {places[-1]}; end_ind: {sample['end_ind']} ---"
    )


def _padded(ids: TokenIds, seq_length: int, pad_token_id: int) -> np.ndarray[Any, np.dtype[Any]]:
    if len(ids) > seq_length:
        raise ValueError(f"{len(ids)} tokens are more than {seq_length}")
    padded = np.full(seq_length, pad_token_id, dtype=np.int32)
    padded[: len(ids)] = ids
    return padded


def _samples(
    groups: Sequence[Group],
    renderer: Renderer,
    account: Account,
    seq_length: int,
    pad_token_id: int,
) -> Iterator[Sample]:
    stripped = [_stripped(group) for group in groups]
    texts = iter(_rendered(renderer, stripped))
    for group in stripped:
        ids = [next(texts) for _ in group.responses]
        if unused := unused_answers(group):
            account.lose({Detail.UNUSED: unused}, group.source)
        for comparison in group.comparisons:
            pair = comparison.winner_loser
            chosen, rejected = (None, None) if pair is None else (ids[pair[0]], ids[pair[1]])
            reason = _refusal(comparison, chosen, rejected, seq_length, pad_token_id)
            if chosen is None or rejected is None or reason is not None:
                account.leave_out({reason or REFUSED: 1}, comparison.row or group.source)
                continue
            account.rows += 1
            account.comparisons += 1
            account.lose(dict.fromkeys(details(group, comparison), 1), group.source)
            yield sample_of(chosen, rejected, seq_length, pad_token_id)


def _refusal(
    comparison: Comparison,
    chosen: TokenIds | None,
    rejected: TokenIds | None,
    seq_length: int,
    pad_token_id: int,
) -> str | None:
    if comparison.winner_loser is None:
        return LeftOut.TIE
    if chosen is None or rejected is None:
        return REFUSED
    if max(len(chosen), len(rejected)) > seq_length:
        return f"over {seq_length} tokens"
    if chosen == rejected:
        return IDENTICAL
    # Ends are counted as tokens that are not padding.
    return PADDING if pad_token_id in chosen or pad_token_id in rejected else None


def _rendered(renderer: Renderer, groups: Sequence[Group]) -> list[TokenIds | None]:
    """Ids of every response of the groups; None where the template refuses it."""
    items = [(group, index) for group in groups for index in range(len(group.responses))]
    texts = rendered_or_refused(renderer, items)
    return [text.ids if isinstance(text, Rendered) else None for text in texts]


def _stripped(group: Group) -> Group:
    """The group without white space around its texts, as MindRLHF's converter reads them."""

    def strip(messages: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(replace(message, content=message.content.strip()) for message in messages)

    def strip_response(response: Response) -> Response:
        return replace(response, messages=strip(response.messages))

    return replace(
        group,
        prompt=strip(group.prompt),
        responses=tuple(strip_response(response) for response in group.responses),
    )


def _file_writer() -> Any:
    try:
        return importlib.import_module("mindspore.mindrecord").FileWriter
    except ImportError:
        raise ConfigError(
            "writing MindRecord files needs MindSpore",
            where="--to mindrecord",
            mend="run `pip install 'assay[mindrecord]'`",
        ) from None


@contextmanager
def _refusals(output: Path) -> Iterator[None]:
    """Turn MindSpore's own refusal to write into an `OutputError`."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise OutputError(
            f"MindSpore cannot write it ({first_line(error)})",
            where=output,
            mend="check the directory, its permissions and its free space",
        ) from None


def _move(folder: Path, output: Path) -> None:
    """Put the data and its index in their place; at no time does an index lie beside other data."""
    index = output.with_name(f"{output.name}.db")
    index.unlink(missing_ok=True)
    (folder / output.name).replace(output)
    (folder / index.name).replace(index)
