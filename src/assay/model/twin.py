"""A model's twin: its architecture, tiny and random, to compare two ways of computing rewards.

What decides how a layer computes is kept; what decides only how much is made small. The fields of
a config are known by what their names say.
"""

from __future__ import annotations

import copy
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from assay.errors import ModelError, first_line
from assay.model.classifier import quiet_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

WINDOW = 6
"""What every active sliding window is cut to."""
VOCABULARY, ORDINARY = 128, 100
"""Token ids of a twin, of which the last one pads; those that have no special meaning."""

_HEADS, _WIDTH, _GAIN, _SPREAD, _TOO_LARGE = 4, 64, 1.5, 0.3, 20_000_000
_AT_MOST = {
    r"vocab_size$": VOCABULARY,
    r"(^|_)window(_size)?$|^attention_chunk_size$|^index_topk$": WINDOW,
    r"^(num|num_local|n_routed)_experts$": 4,
    r"experts_per_tok$|^moe_topk$|^n_group$": 2,
    r"^topk_group$": 1,
    r"_rank$": 16,
}
_INNER = r"(intermediate|ffn_hidden|feed_forward)_size$|ffn_dim$|_inner$|^d?_?ff$|^hidden_dim$"
_OTHER_WIDTHS = r"(?<!image_)(?<!block_)(?<!chunk_)size$|(?<!head_)dim$|embd$|d_model$|channels$"
_DEPTHS = r"^(num_|n_|encoder_|decoder_)(hidden_|decoder_)?layers?$|^depth$"


def twin_of(config: PretrainedConfig, *, seed: int = 0) -> PreTrainedModel:
    """Build a small random one-label classifier of a config's architecture.

    It is float64, on the CPU, in eval mode, without dropout and cache; no parameter is constant.
    Each kind of layer stands in it at least twice, in the order of the original. The config and
    the global random state stay as they are.

    Raises:
        ModelError: there is no such class, or it cannot be built or run at this size.
    """
    reason = ""
    with (
        quiet_transformers(),
        warnings.catch_warnings(action="ignore"),
        torch.inference_mode(False),
        torch.device("cpu"),
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
    ):
        for narrow in (True, False):
            try:
                return _build(config, narrow, seed)
            except Exception as error:  # Anything may come out of somebody else's class.
                reason = first_line(error)
    raise ModelError(f"no small twin of a {config.model_type} classifier can be built ({reason})")


def _build(config: PretrainedConfig, narrow: bool, seed: int) -> PreTrainedModel:
    from transformers import AutoModelForSequenceClassification, initialization

    small = _small(config, narrow)
    build = partial(AutoModelForSequenceClassification.from_config, dtype=torch.float64)
    with torch.device("meta"), initialization.no_init_weights():
        draft = build(copy.deepcopy(small))
    if (size := draft.num_parameters()) > _TOO_LARGE:
        raise ValueError(f"{size} parameters are left")
    said = getattr(config.get_text_config(), "head_dim", None)
    read = {said, *(getattr(module, "head_dim", None) for module in draft.modules())}
    if narrow and small.get_text_config().head_dim not in read:
        raise ValueError("its heads take their size from the width")
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reach GPUs.
    model: PreTrainedModel = build(small).eval()
    _draw(model, torch.Generator().manual_seed(seed))
    end = getattr(small.get_text_config(), "eos_token_id", None)
    ids = torch.tensor([[*range(1, 2 * WINDOW), end if isinstance(end, int) else ORDINARY]])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    if logits.shape != (1, 1) or not bool(logits.isfinite().all()):
        raise ValueError("it gives no finite reward")
    return model


def _small(config: PretrainedConfig, narrow: bool) -> PretrainedConfig:
    """A small copy; if narrow, its width is less than all heads side by side."""
    small = copy.deepcopy(config)
    special: defaultdict[int, int] = defaultdict(lambda: VOCABULARY - 2 - len(special))
    for part in _parts(small):
        if getattr(part, "is_heterogeneous", False):
            raise ValueError("its layers have sizes of their own")
        if getattr(part, "hidden_size", None):
            _thin(part, narrow)
        _shorten(part)
        for name, value in list(vars(part).items()):
            if re.search(r"_token_(id|index)$", name) and value is not None:
                many = isinstance(value, list)
                setattr(part, name, [special[i] for i in value] if many else special[value])
            elif re.search(r"drop|jitter", name) and isinstance(value, float):
                setattr(part, name, 0.0)
            elif name in ("quantization_config", "auto_map"):
                delattr(part, name)
        part.pad_token_id, part.use_cache = VOCABULARY - 1, False
    small.num_labels, small.problem_type = 1, "regression"
    small._attn_implementation, small._experts_implementation = None, "eager"
    return small


def _parts(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    yield config
    for part in filter(None, (getattr(config, key, None) for key in config.sub_configs)):
        yield from _parts(part)


def _thin(part: PretrainedConfig, narrow: bool) -> None:
    """Fewer heads of the same size, and all that goes with them."""
    width, heads = int(part.hidden_size), int(getattr(part, "num_attention_heads", 0))
    new = _HEADS * (getattr(part, "head_dim", None) or width // (heads or width))
    if hasattr(part, "patch_size") or not heads:  # No text enters a vision tower.
        new = _WIDTH
    elif narrow:
        part.head_dim, new = new // _HEADS, min(new, _WIDTH)
    positions = 1 << 30 if getattr(part, "rope_parameters", None) else 2 * VOCABULARY
    rules: dict[str, Callable[[int], int]] = {
        r"^vocab_size$": lambda _: VOCABULARY,
        **{pattern: partial(min, limit) for pattern, limit in _AT_MOST.items()},
        r"^(max_position_embeddings|n_positions|max_seq_len)$": partial(min, positions),
        _INNER: partial(min, new // 2 + 8),
        r"(?<!mamba_)heads$|^n_head$": lambda n: _HEADS * n // heads if n >= heads else min(n, 2),
        r"^mamba_headdim$": lambda n: n * new // width,
        _OTHER_WIDTHS: lambda n: n if n % width else n // width * new,
    }
    for name in [*vars(part), "sliding_window"]:  # The last is a property, in some.
        value = getattr(part, name, None)
        if value is None and name in ("n_inner", "intermediate_size"):
            value = 4 * width  # What None stands for there.
        rule = next((rules[pattern] for pattern in rules if re.search(pattern, name)), None)
        if rule and isinstance(value, list):
            setattr(part, name, [rule(item) for item in value])
        elif rule and type(value) is int and value > 0:
            setattr(part, name, rule(value))


def _shorten(part: PretrainedConfig) -> None:
    """Fewer layers: two of each kind."""
    fields = dict(vars(part))
    depth: int = getattr(part, "num_hidden_layers", None) or fields.get("depth", 0)
    counts = {name: value for name, value in fields.items() if type(value) is int}
    lists = {n: v for n, v in fields.items() if isinstance(v, list | tuple) and "token" not in n}
    listed = [name for name, value in lists.items() if len(value) == depth]
    numbers = [n for n in lists if n not in listed and re.search(r"(layers|ids|indexes)$", n)]
    period = math.lcm(*(n for name, n in counts.items() if re.search(r"_(period|step)$", name)))
    kinds = []
    for i in range(depth):
        entries = [lists[name][i] for name in listed] + [i in lists[name] for name in numbers]
        kinds.append(repr([entries, i < counts.get("first_k_dense_replace", 0), i % period]))
    choice = _choice(kinds, period) if kinds else []
    for name, value in fields.items():
        if name in listed:
            setattr(part, name, type(value)(value[i] for i in choice))
        elif name in numbers:
            setattr(part, name, [place for place, i in enumerate(choice) if i in value])
        elif name in counts and re.search(_DEPTHS, name):
            setattr(part, name, len(choice) if value == depth else min(value, len(choice)))
        elif name in ("first_k_dense_replace", "max_window_layers"):
            setattr(part, name, sum(i < value for i in choice))


def _choice(kinds: list[str], period: int) -> list[int]:
    """Layers to keep: the first of each kind, and of each the next one after these, if any."""
    places = [[i for i, one in enumerate(kinds) if one == kind] for kind in dict.fromkeys(kinds)]
    if period > 1:  # The layer's number decides, so that none before it can be left out.
        return list(range(1 + max(where[:2][-1] for where in places)))
    last = max(where[0] for where in places)
    again = [next((i for i in where if i > last), where[:2][-1]) for where in places]
    return sorted([*(where[0] for where in places), *again])


def _draw(model: PreTrainedModel, generator: torch.Generator) -> None:
    """Draw matrices such that what they give is of order 1, and the rest around its start."""
    owner = {w: module for module in model.modules() for w in module.parameters(recurse=False)}
    for weight, module in owner.items():
        weight.data = weight.data.double()
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        inputs = getattr(module, "in_features", math.prod(weight.shape[-2:]) ** 0.5)  # Or so.
        scale = 1.0 if isinstance(module, nn.Embedding) else _GAIN / inputs**0.5
        weight.copy_(noise * scale if weight.ndim > 1 else weight + _SPREAD * noise)
