"""The padding token: one that no rendered sequence can end with.

Transformers finds the scored position of a padded row by looking for the rightmost token that is
not padding; vLLM and SGLang take the last token. They agree just when no text ends in padding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.data.records import Group, Message, Response, Source
from assay.data.rendering import Renderer
from assay.errors import ModelError, TemplateError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_NEW_TOKEN = "<|assay_pad|>"


def choose_pad_token(
    renderer: Renderer, config: PretrainedConfig, num_ids: int, *, may_grow: bool
) -> str:
    """Name the padding token, adding one to the tokenizer only where none will do.

    The tokenizer's own is kept if texts cannot end with it; else an existing special token that
    the template does not end with.

    Args:
        renderer: renders a probe conversation to learn how texts end.
        config: the model's; its end tokens are avoided, since generation data end with them.
        num_ids: rows of the embedding, which a tokenizer may exceed.
        may_grow: the token may have no row there, or be added (the caller resizes the embedding).

    Raises:
        ModelError: none will do and none may be added.
    """
    tokenizer = renderer.tokenizer
    ends = {tokenizer.eos_token_id, _last_token(renderer)}
    eos = getattr(config, "eos_token_id", None)
    ends |= set(eos) if isinstance(eos, list) else {eos}
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    preferred = [tokenizer.pad_token, "<|endoftext|>", tokenizer.unk_token, *special]
    # Looked up in the vocabulary: `convert_tokens_to_ids` gives the unknown id for what is absent.
    known = tokenizer.get_vocab()
    free = {*known.values()} - ends - {tokenizer.bos_token_id}
    for token in preferred:
        if token in known and known[token] in free and (may_grow or known[token] < num_ids):
            return str(token)
    if not may_grow:
        raise ModelError(
            "its tokenizer has no special token to pad with that no text can end with",
            mend="add a padding token to the base model first",
        )
    tokenizer.add_special_tokens({"pad_token": _NEW_TOKEN})
    return _NEW_TOKEN


def _last_token(renderer: Renderer) -> int | None:
    probe = Group(
        id="probe",
        source=Source("probe", 1),
        prompt=(Message("user", "Question?"),),
        responses=(Response((Message("assistant", "Answer."),)),),
    )
    try:
        return renderer.render(probe, 0).ids[-1]
    except TemplateError:
        return None
