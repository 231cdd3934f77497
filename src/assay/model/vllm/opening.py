"""Opening a reward model for vLLM: what it cannot serve is refused before it starts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from assay.data.rendering import Renderer
from assay.errors import ConfigError, ModelError
from assay.model.classifier import say_offset
from assay.model.foreign import foreign_head
from assay.model.foreign.directory import ForeignDirectory, names_in
from assay.model.heads import HEADS_FILE, Heads
from assay.model.locate import Located, locate_model
from assay.model.manifest import file_sha256
from assay.model.precision import check_dtype
from assay.model.reader import reader_of
from assay.model.reward_model import Computed
from assay.model.vllm.by_url import ByUrl
from assay.model.vllm.in_process import InProcess
from assay.model.vllm.model import PoolingEngine, VllmModel

_HEAD = "score.weight"
_OWN = "leave --backend vllm out"


def load_vllm_model(
    name: str,
    *,
    url: str | None = None,
    template: str | None = None,
    dtype: str = "auto",
    max_length: int | None = None,
) -> VllmModel:
    """A reward model that is read here and computed by vLLM.

    Args:
        name: whatever `--model` takes, but an adapter; behind a URL its tokenizer will do.
        url: of a server that serves it; None starts an engine in this process.
        template: reads conversations with another template than the model's own.
        dtype: of an engine in this process.
        max_length: tokens of a sequence for an engine in this process.

    Raises:
        ModelError: no model there, or one that vLLM cannot serve as what it is.
        ConfigError: vLLM is not here, or the server serves something else.
        ResourceError: the server does not answer.
    """
    check_dtype(dtype)
    located = locate_model(name, needs_weights=url is None)
    weights = check_servable(located, needs_weights=url is None)
    renderer, metadata = reader_of(located, template)
    say_offset(located.path, metadata.reward_offset)
    config = ForeignDirectory(located.path).config
    pooling: PoolingEngine
    if url is None:
        pooling = InProcess(located.path, dtype, max_length)
    else:
        if dtype != "auto":
            raise ConfigError(
                "the server behind --vllm-url has its own dtype",
                where="--dtype",
                mend="leave it out",
            )
        pooling = _server(url, name, located.path, renderer)
    text = config.get("text_config") or config
    context = int(text.get("max_position_embeddings") or pooling.max_length)
    return VllmModel(
        renderer,
        metadata,
        pooling,
        max_length=min(context, pooling.max_length),
        num_ids=int(text.get("vocab_size") or len(renderer.tokenizer)),
        weights=weights,
        computed=Computed(),
    )


def check_servable(located: Located, *, needs_weights: bool = True) -> str | None:
    """See that vLLM gives the rewards that the model has; a hash of its weights, where they are.

    Raises:
        ModelError: it would give others, or a part of what the model says.
    """
    path = located.path
    if located.kind == "adapter":
        raise ModelError(
            "is an adapter, and vLLM serves whole reward models",
            where=path,
            mend="merge it: assay merge --model ... --output DIRECTORY",
        )
    heads = Heads.read(path)
    if heads is not None:
        what = "an ensemble" if heads.is_ensemble else "heads of attributes"
        said = "uncertainty" if heads.is_ensemble else "components"
        raise ModelError(
            f"has {what} beside its head ({HEADS_FILE}): vLLM would give the mean's reward without "
            f"{said}",
            where=path,
            mend=_OWN,
        )
    directory = ForeignDirectory(path)
    files = sorted(path.glob("*.safetensors"))
    if not files and not needs_weights:
        return None
    if foreign_head(path) is not None:
        raise ModelError(
            "its head is written as another program writes it, and vLLM does not read that",
            where=path,
            mend="write a plain directory: assay merge --model ... --output DIRECTORY",
        )
    classes = directory.config.get("architectures") or ["nothing"]
    if not str(classes[0]).endswith("ForSequenceClassification"):
        raise ModelError(
            f"is {classes[0]}, and vLLM gives rewards of sequence classifiers",
            where=path,
            mend=_OWN,
        )
    if not any(_HEAD in names_in(file) for file in files):
        raise ModelError(
            f"has no {_HEAD}: its head is of another kind than one row", where=path, mend=_OWN
        )
    return _hash(files)


def _server(url: str, name: str, path: Path, renderer: Renderer) -> ByUrl:
    server = ByUrl(url, [name, str(path), path.name])
    text = "A question? 一个问题？ 1,234\n\nAn answer."
    server.check_tokenizer(text, renderer.render_text(text).ids)
    return server


def _hash(files: list[Path]) -> str:
    """Of some files, in order: 32 hex digits."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()[:32]
