"""Norms and rotary embeddings of our own give the numbers of transformers, and only where they do.

Three references: a formula written out here and differentiated by autograd (float64, 1e-12), finite
differences, and the modules of transformers (float32, 1e-6; in float64 they round to float32, too).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from families import SMALL
from torch import Tensor, nn

from assay.model import fast
from assay.model.fast import HalfRotation, RmsNorm, install, last_layer, remove, rotary
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences
from assay.model.twin import twin_of
from assay.tree.attention import NAME, register
from assay.tree.layout import Segment, Span
from assay.tree.pack import Layout
from tests.conftest import no_metadata

NO_READER: Any = None
"""Renderer of the models here: no text is read."""
EXACT, SINGLE = 1e-12, 1e-6
EPS = 1e-6

ENDS = {"bos_token_id": 1, "eos_token_id": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "mistral": {},
    "gemma2": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "phi3": {},
    "olmo2": {},
    "granite": {},
    "gpt2": {},
    "olmo": {},
    "glm": {"head_dim": 16},
}
NORMS = dict(qwen3=4, gemma2=4, gemma3_text=6, olmo2=4, gpt2=None, olmo=None)
"""Of each layer, where they are not two; one more stands at the end. None: LayerNorms."""
SEQUENCES = [(5, 6, 7, 8), (5, 6, 7, 9, 11), (5, 6, 12), tuple(range(40, 60))]


def body(family: str, **changes: Any) -> Any:
    """A small float32 model without a head, whose weights are not constant."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(family, **(SMALL | ENDS | FAMILIES[family] | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        for weight in model.parameters():
            weight.data.add_(torch.randn_like(weight), alpha=0.1)
    return model


def twin(family: str, **changes: Any) -> Any:
    from transformers import AutoConfig

    return twin_of(AutoConfig.for_model(family, **(SMALL | ENDS | FAMILIES[family] | changes)))


def replaced(model: nn.Module) -> list[str]:
    """The classes of the modules with a forward of their own, but the last layer.

    Linear layers are left out: they have one on some processors (`tests/model/test_products.py`).
    """
    owners = [module for module in model.modules() if "forward" in vars(module)]
    kept = [owner for owner in owners if not isinstance(owner, nn.Linear) and not is_last(owner)]
    return [type(module).__name__ for module in kept]


def is_last(module: nn.Module) -> bool:
    """Whether it was taken for the last layer."""
    forward = vars(module).get("forward")
    return getattr(forward, "__func__", None) is fast._scored_rows_only


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def check(ours: Any, theirs: Any, bar: float) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        assert float((mine - other).norm()) <= bar * float(other.norm())
        assert float(other.norm()) > 0


def with_gradients(output: Tensor, *inputs: Tensor) -> list[Tensor]:
    """An output and the gradients of a sum of it, weighted at random."""
    weight = draw(*output.shape, seed=9, dtype=output.dtype).detach()
    return [output.detach(), *torch.autograd.grad((output * weight).sum(), inputs)]


# The norm


def norm_by_autograd(x: Tensor, weight_D: Tensor, eps: float, offset: int) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * (weight_D + offset)


def rms_norm(x: Tensor, weight_D: Tensor, eps: float, offset: int) -> Tensor:
    output: Tensor = RmsNorm.apply(x, weight_D, eps, offset)  # type: ignore[no-untyped-call]
    return output


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("size", [1.0, EPS**0.5, 1e3], ids=["usual", "of eps", "large"])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_norm_is_its_formula(offset: int, size: float, transposed: bool) -> None:
    x, weight_D = (size * draw(2, 5, 3, 16)).detach().requires_grad_(), draw(16, seed=1)
    view = x.transpose(1, 2) if transposed else x
    ours = with_gradients(rms_norm(view, weight_D, EPS, offset), x, weight_D)
    theirs = with_gradients(norm_by_autograd(view, weight_D, EPS, offset), x, weight_D)
    check(ours, theirs, EXACT)


@pytest.mark.parametrize("offset", [0, 1])
def test_the_norm_by_finite_differences(offset: int) -> None:
    inputs = draw(2, 3, 8), draw(8, seed=1)
    # Its gradient is not to be differentiated again: `once_differentiable` raises.
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 0.1, offset), inputs)


def test_the_gradient_of_a_norm_that_arrives_transposed() -> None:
    x, weight_D = draw(2, 5, 3, 16), draw(16, seed=1)
    slope = draw(2, 3, 5, 16, seed=2).detach()
    ours, theirs = (
        torch.autograd.grad(norm(x, weight_D, EPS, 0).transpose(1, 2), (x, weight_D), slope)
        for norm in (rms_norm, norm_by_autograd)
    )
    check(ours, theirs, EXACT)


def test_a_frozen_weight_gets_no_gradient() -> None:
    x, weight_D, slope = draw(3, 16), draw(16, seed=1).detach(), draw(3, 16, seed=2).detach()
    inverse = (x.detach().pow(2).mean(-1, keepdim=True) + EPS).rsqrt()
    context = SimpleNamespace(saved_tensors=(x.detach(), weight_D, inverse), offset=0)
    for trained in (True, False):
        context.needs_input_grad = (True, trained, False, False)
        assert (RmsNorm.backward(context, slope)[1] is not None) == trained  # type: ignore[no-untyped-call]
    ours, theirs = (
        torch.autograd.grad(norm(x, weight_D, EPS, 0), x, slope)
        for norm in (rms_norm, norm_by_autograd)
    )
    check(ours, theirs, EXACT)


@pytest.mark.parametrize(
    ("family", "place"),
    [
        ("llama", "norm"),
        ("gemma2", "norm"),
        ("qwen3", "norm"),
        ("qwen3", "q_norm"),
        ("gemma3_text", "k_norm"),
        ("olmo2", "q_norm"),
    ],
)
def test_the_norms_of_transformers(family: str, place: str) -> None:
    model = body(family)
    module: Any = next(m for name, m in model.named_modules() if name.endswith(place))
    width = module.weight.shape[0]
    x = draw(1, 5, 64 // width, width, dtype=torch.float32)
    view = x.transpose(1, 2).contiguous().transpose(1, 2)
    theirs = with_gradients(module(view), x, module.weight)
    install(model)
    assert "forward" in vars(module)
    assert "RmsNorm" in type(module(view).grad_fn).__name__
    check(with_gradients(module(view), x, module.weight), theirs, SINGLE)


# The rotary embedding


def turn_by_autograd(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    output: Tensor = HalfRotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return output


def angles(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Cosine and sine [1, T, D], without the symmetry of real ones."""
    cos, sin = draw(2, 1, 5, 16, seed=3, dtype=dtype).detach().sin()
    return cos, sin


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("transformers' own function was called")


def test_the_rotation_is_its_formula() -> None:
    x, (cos, sin) = draw(1, 4, 5, 16), angles()
    ours = with_gradients(turn(x, cos[:, None], sin[:, None]), x)
    check(ours, with_gradients(turn_by_autograd(x, cos[:, None], sin[:, None]), x), EXACT)


def test_the_rotation_by_finite_differences() -> None:
    cos, sin = angles()
    assert torch.autograd.gradcheck(lambda x: turn(x, cos, sin), draw(1, 5, 16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("heads_at", [1, 2])
def test_the_rotary_embedding_of_transformers(dtype: torch.dtype, heads_at: int) -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q, k = draw(1, 5, 4, 16, dtype=dtype), draw(1, 5, 2, 16, seed=1, dtype=dtype)
    cos, sin = angles(dtype)
    views = [x.transpose(1, 2) if heads_at == 1 else x for x in (q, k)]
    ours = rotary(refuse, *views, cos, sin, unsqueeze_dim=heads_at)
    theirs = apply_rotary_pos_emb(*views, cos, sin, unsqueeze_dim=heads_at)
    for mine, other, x in zip(ours, theirs, (q, k), strict=True):
        bar = SINGLE if dtype == torch.float32 else EXACT
        check(with_gradients(mine, x), with_gradients(other, x), bar)


def test_a_turned_tensor_lies_in_memory_as_before() -> None:
    q, k = draw(1, 5, 4, 16), draw(1, 5, 2, 16, seed=1)
    views = q.transpose(1, 2), k.transpose(1, 2)
    for view, turned in zip(views, rotary(refuse, *views, *angles()), strict=True):
        assert not turned.is_contiguous()
        assert turned.stride() == view.stride()


def test_cosines_with_a_gradient_are_left_to_transformers() -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q, k, (cos, sin) = draw(1, 4, 5, 16), draw(1, 2, 5, 16, seed=1), angles()
    cos.requires_grad_()
    ours, _ = rotary(apply_rotary_pos_emb, q, k, cos, sin)
    assert torch.autograd.grad(ours.sum(), cos)[0].abs().sum() > 0


# The last layer


def packed(model: Any, row_S: list[int], rows: int = 12) -> Tensor:
    """What a pack of one sequence leaves in its scored rows, through transformers' own layers."""
    position_T = torch.arange(rows)
    layout = Layout((Segment(Span(0, rows), ()),), tuple(row_S), torch.device("cpu"))
    ids_1T = (7 * position_T % 50 + 3)[None]
    state: Tensor = model(
        input_ids=ids_1T, position_ids=position_T[None], use_cache=False, tree=layout
    )[0]
    return state[0, row_S]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_mlp_sees_the_scored_rows_and_changes_nothing(family: str) -> None:
    register()
    model = body(family).double().eval()
    model.set_attn_implementation(NAME)
    layers = model.layers if hasattr(model, "layers") else model.h
    weights = list(model.parameters())

    def run(row_S: list[int]) -> list[Tensor]:
        state = packed(model, row_S)
        slope = draw(*state.shape, seed=9).detach()
        return [state.detach(), *torch.autograd.grad((state * slope).sum(), weights)]

    seen: list[int] = []
    for layer in layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    # Two sequences may end in one row.
    theirs = run([4, 11, 4])
    install(model)
    assert last_layer(model) is layers[-1]
    ours = run([4, 11, 4])
    assert seen == [12] * (2 * len(layers) - 1) + [2]
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine - other).norm()) <= 1e-6 * max(float(other.norm()), 1e-3)


def test_most_rows_scored_and_other_calls_are_the_layers_own() -> None:
    register()
    model = body("llama")
    model.set_attn_implementation(NAME)
    seen: list[int] = []
    install(model)
    model.layers[-1].mlp.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[1]))
    packed(model, list(range(7)))
    model.set_attn_implementation("eager")
    hidden(model)
    assert seen == [12, 20]


def test_layers_that_are_not_understood_stay() -> None:
    model = body("llama")
    model.layers[-1].mlp = None
    assert last_layer(model) is None
    model = body("llama")
    model.config.num_hidden_layers = 3
    assert last_layer(model) is None
    model.others = nn.ModuleList(copy.deepcopy(layer) for layer in model.layers)
    model.config.num_hidden_layers = 2
    assert last_layer(model) is None


class RoutedMlp(nn.Module):
    """Returns what its router chose, too."""

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return 2 * x, x.shape[1]


def test_an_mlp_that_returns_more_sees_all_rows() -> None:
    x = draw(1, 5, 4)
    output, rows = fast._at_rows(RoutedMlp(), torch.tensor([1]), x)
    assert torch.equal(output, 2 * x)
    assert rows == 5


# What is replaced, and what is not


@pytest.mark.parametrize("family", FAMILIES)
def test_all_that_is_understood_is_replaced(family: str) -> None:
    model = body(family)
    layers = len(model.layers if hasattr(model, "layers") else model.h)
    norms = NORMS.get(family, 2)
    attentions = 0 if family in ("gpt2", "glm") else layers
    with torch.autocast("cpu"):  # Whatever the caller has switched on.
        install(model)
    names = replaced(model)
    assert sum(name.endswith("RMSNorm") for name in names) == (norms * layers + 1 if norms else 0)
    assert sum(name.endswith("Attention") for name in names) == attentions
    own = {
        id(vars(module)["forward"].__func__)
        for module in model.modules()
        if "forward" in vars(module) and type(module).__name__.endswith("Attention")
    }
    assert len(own) == min(1, attentions), "one function serves all layers"


def test_installing_twice_is_installing_once_and_removing_restores() -> None:
    model = body("qwen3")
    keys = [set(vars(module)) for module in model.modules()]
    install(model)
    first = {name: vars(module).get("forward") for name, module in model.named_modules()}
    install(model)
    for name, module in model.named_modules():
        assert vars(module).get("forward") is first[name]
    remove(model)
    assert not any("forward" in vars(module) for module in model.modules())
    assert [set(vars(module)) for module in model.modules()] == keys
    remove(model)


def test_the_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    install(body("llama"))
    assert torch.equal(torch.get_rng_state(), before)


def test_transformers_itself_is_not_changed() -> None:
    from transformers.models.llama import modeling_llama as llama

    held = (llama.apply_rotary_pos_emb, llama.LlamaAttention.forward, llama.LlamaRMSNorm.forward)
    install(body("llama"))
    now = (llama.apply_rotary_pos_emb, llama.LlamaAttention.forward, llama.LlamaRMSNorm.forward)
    assert now == held
    assert llama.LlamaAttention.forward.__globals__["apply_rotary_pos_emb"] is held[0]


class Norm(nn.Module):
    """A norm as transformers writes them, to be changed."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = EPS

    def forward(self, x: Tensor) -> Tensor:
        return norm_by_autograd(x, self.weight, self.eps, 0)


class RightRMSNorm(Norm):
    pass


class EpsOutsideRMSNorm(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps) * self.weight


class NoEpsRMSNorm(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.pow(2).mean(-1, keepdim=True).sqrt() * self.weight


class CentredRMSNorm(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return norm_by_autograd(x - x.mean(-1, keepdim=True), self.weight, self.eps, 0)


class TwoMoreRMSNorm(Norm):
    def forward(self, x: Tensor) -> Tensor:
        return norm_by_autograd(x, self.weight, self.eps, 2)


class GatedRMSNorm(Norm):
    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return norm_by_autograd(x, self.weight, self.eps, 0) * gate


class BiasedRMSNorm(Norm):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(16))


class BufferedRMSNorm(Norm):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Buffer(torch.ones(16))


class SwitchedRMSNorm(Norm):
    """Two of one class that compute different things."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return norm_by_autograd(x, self.weight**self.power, self.eps, 0)


WRONG = [EpsOutsideRMSNorm, NoEpsRMSNorm, CentredRMSNorm, TwoMoreRMSNorm, GatedRMSNorm]


@pytest.mark.parametrize("kind", [*WRONG, BiasedRMSNorm, BufferedRMSNorm, Norm, nn.RMSNorm])
def test_a_lookalike_is_left_alone(kind: Any) -> None:
    module = nn.Sequential(kind(16) if kind is nn.RMSNorm else kind())
    install(module)
    assert replaced(module) == []


def test_what_is_right_is_replaced_whatever_its_class() -> None:
    module = nn.Sequential(RightRMSNorm(), SwitchedRMSNorm(2.0), SwitchedRMSNorm(1.0))
    install(module)
    assert ["forward" in vars(child) for child in module] == [True, False, True]


def test_somebody_elses_forward_stays() -> None:
    module = RightRMSNorm()
    own = vars(module)["forward"] = lambda x: x
    install(module)
    assert vars(module)["forward"] is own
    remove(module)
    assert vars(module)["forward"] is own


def test_hooks_do_not_see_the_random_numbers() -> None:
    module = RightRMSNorm()
    seen: list[Any] = []
    module.register_forward_pre_hook(lambda *call: seen.append(call))
    install(module)
    assert (len(seen), replaced(module)) == (0, ["RightRMSNorm"])
    module(draw(2, 16, dtype=torch.float32))
    assert len(seen) == 1


def test_a_call_of_another_kind_is_the_classs_own() -> None:
    module = RightRMSNorm()
    x = draw(2, 16, dtype=torch.float32)
    install(module)
    assert torch.equal(module(x=x), norm_by_autograd(x, module.weight, EPS, 0))
    with pytest.raises(TypeError):
        module(x, x)


def interleaved(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
    def one(x: Tensor) -> Tensor:
        other = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
        return x * cos.unsqueeze(unsqueeze_dim) + other * sin.unsqueeze(unsqueeze_dim)

    return one(q), one(k)


def backwards(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return turn_by_autograd(q, cos, -sin), turn_by_autograd(k, cos, -sin)


def keys_as_they_are(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
    return turn_by_autograd(q, cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)), k


def in_single(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
    cos, sin = cos.unsqueeze(unsqueeze_dim).float(), sin.unsqueeze(unsqueeze_dim).float()
    return tuple(turn_by_autograd(x.float(), cos, sin).to(x.dtype) for x in (q, k))


def with_positions(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, position_ids: Any = None, unsqueeze_dim: int = 1
) -> Any:
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return turn_by_autograd(q, cos, sin), turn_by_autograd(k, cos, sin)


@pytest.mark.parametrize(
    "theirs", [interleaved, backwards, keys_as_they_are, in_single, with_positions, refuse, None]
)
def test_another_rotary_embedding_is_left_alone(
    theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama import modeling_llama

    model = body("llama")
    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", theirs)
    install(model)
    assert set(replaced(model)) == {"LlamaRMSNorm"}


def test_a_wrapped_attention_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama.modeling_llama import LlamaAttention

    monkeypatch.setattr(LlamaAttention.forward, "__wrapped__", None, raising=False)
    model = body("llama")
    install(model)
    assert set(replaced(model)) == {"LlamaRMSNorm"}


def hidden(model: Any) -> Tensor:
    state: Tensor = model(input_ids=torch.tensor([SEQUENCES[3]]), use_cache=False)[0]
    return state


def test_heads_that_turn_in_part_are_transformers_own() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    model = body("phi3", rope_parameters=rope)
    cos, _ = model.rotary_emb(torch.zeros(1), torch.zeros(1, 1))
    assert cos.shape[-1] == model.layers[0].self_attn.head_dim // 2
    install(model)
    for module in model.modules():
        if type(module).__name__ == "Phi3RMSNorm":
            vars(module).pop("forward")
    found = hidden(model)
    remove(model)
    assert torch.equal(found, hidden(model))


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3"])
def test_under_autocast_all_is_transformers_own(family: str) -> None:
    model = body(family)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = hidden(model)
        install(model)
        assert torch.equal(hidden(model), theirs)


def test_bfloat16_weights_are_transformers_own() -> None:
    model = body("llama").bfloat16()
    theirs = hidden(model)
    install(model)
    assert len(replaced(model)) == 7
    assert torch.equal(hidden(model), theirs)


@pytest.mark.parametrize("of_weight", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("of_x", [torch.float64, torch.bfloat16])
def test_a_norm_of_another_dtype_is_transformers_own(
    of_x: torch.dtype, of_weight: torch.dtype
) -> None:
    module = body("llama").norm.to(of_weight)
    install(module)
    x = draw(3, 64).detach().to(of_x)
    theirs = type(module).forward(module, x)
    assert module(x).dtype == theirs.dtype
    assert torch.equal(module(x), theirs)


def test_a_model_elsewhere_gets_nothing() -> None:
    model = body("llama").to("meta")
    install(model)
    assert replaced(model) == []


def test_a_model_that_moves_computes_as_before() -> None:
    model = body("llama")
    install(model)
    model.to("meta")
    assert model(input_ids=torch.ones(1, 5, dtype=torch.long, device="meta"))[0].is_meta


# In a model


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "phi3"])
def test_a_float32_model_gives_the_same(family: str) -> None:
    model = body(family)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    theirs = with_gradients(hidden(model), *weights)
    install(model)
    # Through two layers: a few roundings more than one norm has.
    check(with_gradients(hidden(model), *weights), theirs, 10 * SINGLE)


def reward_model(family: str, inner: Callable[[nn.Module], nn.Module] = lambda m: m) -> RewardModel:
    return RewardModel(inner(twin(family)), NO_READER, no_metadata())


def rewards_and_gradients(model: RewardModel) -> list[Tensor]:
    reward_R = rewards_of_sequences(model, SEQUENCES, max_tokens=99, families=[0, 0, 0, 1])
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return with_gradients(reward_R, *weights)


def test_engines_install_and_padded_removes() -> None:
    model = reward_model("llama")
    assert replaced(model) == []
    for engine, count in (("tree", 7), ("packed", 7), ("padded", 0), ("tree", 7)):
        model.use_engine(engine)  # type: ignore[arg-type]
        assert len(replaced(model)) == count


def test_a_layer_with_adapters_is_replaced_and_right() -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    from assay.model.classifier import quiet_transformers

    def adapted(classifier: nn.Module) -> nn.Module:
        config = LoraConfig(
            task_type=TaskType.SEQ_CLS, r=2, target_modules="all-linear", init_lora_weights=False
        )
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            peft: nn.Module = get_peft_model(classifier, config)
        return peft

    model = reward_model("llama", adapted)
    model.use_engine("tree")
    assert len(replaced(model)) == 7
    ours = rewards_and_gradients(model)
    remove(model.classifier)
    check(ours, rewards_and_gradients(model), 1e-5)  # Of stock norms in float64.
    model.use_engine("tree")
    merged = copy.deepcopy(model.inner).merge_and_unload()  # type: ignore[operator]
    assert len(replaced(merged)) == 7
    assert not any(norm.weight.requires_grad for norm in merged.modules() if is_norm(norm))


def is_norm(module: nn.Module) -> Any:
    return type(module).__name__.endswith("RMSNorm")


def test_a_copy_computes_with_its_own_weights() -> None:
    model = reward_model("llama")
    model.use_engine("tree")
    before = rewards_and_gradients(model)
    other = copy.deepcopy(model)
    for module in other.modules():
        if "forward" in vars(module):
            assert vars(module)["forward"].__self__ is module
        if is_norm(module):
            nn.init.zeros_(module.weight)  # type: ignore[arg-type]
    with torch.no_grad():
        assert not rewards_of_sequences(other, SEQUENCES, max_tokens=99).any()
    for mine, again in zip(before, rewards_and_gradients(model), strict=True):
        assert torch.equal(mine, again)


def test_what_is_saved_is_what_was_loaded(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = reward_model("qwen3")
    before = {name: tensor.clone() for name, tensor in model.classifier.state_dict().items()}
    model.use_engine("tree")
    after = model.classifier.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    model.classifier.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64)
    assert replaced(loaded) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())
    loaded.load_state_dict(after)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_gradient_checkpointing_changes_nothing(family: str) -> None:
    model = reward_model(family)
    model.use_engine("tree")
    expected = rewards_and_gradients(model)
    calls: list[int] = []
    model.classifier.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    next(filter(is_norm, model.modules())).register_forward_hook(lambda *_: calls.append(1))
    found = rewards_and_gradients(model)
    assert len(calls) == 2, "a layer is computed again"
    check(found, expected, EXACT)


def test_stock_code_is_what_the_self_check_compares_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong norm of ours is found: the expectation is computed before it is installed."""
    from assay.model.selfcheck import verdict_on

    right = fast._norm_with
    monkeypatch.setattr(fast, "_norm_with", lambda eps, offset: right(eps, 1 - offset))
    monkeypatch.setattr("assay.model.selfcheck.keep_answer", lambda *_: None)
    monkeypatch.setattr("assay.model.selfcheck.architecture_key", lambda *_: "no such key")
    fault = verdict_on(reward_model("llama"), "tree").fault
    assert fault is not None
    assert "rewards or gradients are wrong" in fault
