"""The self-check sees each fault that a tree engine can have, and its kept answers do no harm."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import small_config
from torch import Tensor

from assay.errors import ModelError
from assay.model import selfcheck
from assay.model.engine import EngineName
from assay.model.reward_model import RewardModel
from assay.model.selfcheck import error_norm, probe_sequences, verdict_on
from assay.model.twin import twin_of
from assay.tree import attention, cascade, segments
from assay.tree.layout import Span, grow
from assay.tree.pack import Pack
from tests.conftest import no_metadata

NO_READER: Any = None
"""Renderer and metadata of the twins here: no text is read."""

ENDS = {"bos_token_id": 1, "eos_token_id": 2}
FAMILIES = ("llama", "gpt2", "mistral", "gemma2", "gpt_oss")


def model_of(family: str, **changes: Any) -> RewardModel:
    config = small_config(family, **(ENDS | changes))
    return RewardModel(twin_of(config), NO_READER, no_metadata())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory; its answers lie in `self-checks`."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "self-checks"


# Planted faults

Patch = pytest.MonkeyPatch


def window_counted_in_rows(patch: Patch) -> None:
    def faulty(q: Tensor, k: Tensor, v: Tensor, layout: Any, scale: float, **other: Any) -> Tensor:
        window = other.pop("window")
        sees_TT, row_T = layout.sees_TT(), torch.arange(layout.num_rows)
        if window is not None:
            sees_TT = sees_TT & (row_T[:, None] - row_T[None, :] < window)
        return segments.attend(q, k, v, sees_TT, scale, **other).transpose(1, 2)

    patch.setattr(attention, "by_segment", faulty)


def window_one_too_long(patch: Patch) -> None:
    by_segments_with(patch, window=lambda window: window and window + 1)


def siblings_visible(patch: Patch) -> None:
    """Each segment sees the last row of the segment before it."""

    def faulty(pack: Pack) -> Pack:
        first, *others = pack.layout.segments
        changed = [
            segment._replace(path=(*segment.path, Span(segment.rows.start - 1, segment.rows.start)))
            for segment in others
        ]
        return replace(pack, layout=replace(pack.layout, segments=(first, *changed)))

    packs_with(patch, faulty)


def prompt_lost(patch: Patch) -> None:
    """Each segment sees itself only."""

    def faulty(pack: Pack) -> Pack:
        alone = tuple(segment._replace(path=()) for segment in pack.layout.segments)
        return replace(pack, layout=replace(pack.layout, segments=alone))

    packs_with(patch, faulty)


def positions_are_rows(patch: Patch) -> None:
    packs_with(patch, lambda pack: replace(pack, position_T=torch.arange(pack.num_tokens)))


def scored_one_row_early(patch: Patch) -> None:
    packs_with(patch, lambda pack: replace(pack, scored_row_R=pack.scored_row_R - 1))


def scale_off(patch: Patch) -> None:
    cascades_with(patch, lambda q, k, v, blocks, scale: (q, k, v, blocks, 1.05 * scale))


def scale_of_the_config_ignored(patch: Patch) -> None:
    def faulty(q: Tensor, k: Tensor, v: Tensor, layout: Any, scale: float, **other: Any) -> Tensor:
        return segments.by_segment(q, k, v, layout, q.shape[-1] ** -0.5, **other)

    patch.setattr(attention, "by_segment", faulty)


def softcap_dropped(patch: Patch) -> None:
    by_segments_with(patch, softcap=lambda softcap: None)


def sinks_dropped(patch: Patch) -> None:
    by_segments_with(patch, sink_H=lambda sink_H: None)


def sinks_without_gradient(patch: Patch) -> None:
    by_segments_with(patch, sink_H=lambda sink_H: sink_H.detach())


def keys_without_gradient(patch: Patch) -> None:
    cascades_with(patch, lambda q, k, v, blocks, scale: (q, k.detach(), v, blocks, scale))


def a_rectangle_lost(patch: Patch) -> None:
    cascades_with(patch, lambda q, k, v, blocks, scale: (q, k, v, blocks[:-1], scale))


def a_faint_leak(patch: Patch) -> None:
    """Too small to be an error by the other bar."""
    right = cascade.cascade

    def faulty(q: Tensor, k: Tensor, v: Tensor, *other: Any) -> Tensor:
        return right(q, k, v, *other) + 1e-5 * v.detach().mean()

    patch.setattr(cascade, "cascade", faulty)


def not_a_number(patch: Patch) -> None:
    cascades_with(patch, lambda q, k, v, blocks, scale: (q * torch.nan, k, v, blocks, scale))


def a_crash(patch: Patch) -> None:
    def faulty(*arguments: Any) -> Tensor:
        raise RuntimeError("the kernel\nis not there")

    patch.setattr(cascade, "cascade", faulty)


def packs_with(patch: Patch, change: Callable[[Pack], Pack]) -> None:
    planted = Pack.planted
    patch.setattr(Pack, "planted", lambda tree, device: change(planted(tree, device)))


def cascades_with(patch: Patch, change: Callable[..., Any]) -> None:
    right = cascade.cascade
    patch.setattr(cascade, "cascade", lambda *arguments: right(*change(*arguments)))


def by_segments_with(patch: Patch, **changes: Callable[[Any], Any]) -> None:
    def faulty(*arguments: Any, **other: Any) -> Tensor:
        for name, change in changes.items():
            other[name] = change(other[name])
        return segments.by_segment(*arguments, **other)

    patch.setattr(attention, "by_segment", faulty)


WRONG = r"rewards or gradients are wrong by \S+ on a small model of this kind"
LEAKS = r"a response moves another's reward by \S+ on a small model of this kind"
FAULTS: list[tuple[Callable[[Patch], None], str, tuple[EngineName, ...], str]] = [
    (window_counted_in_rows, "mistral", ("tree",), WRONG),
    (window_counted_in_rows, "gemma2", ("tree",), WRONG),
    (window_one_too_long, "mistral", ("tree", "packed"), WRONG),
    (siblings_visible, "llama", ("tree", "packed"), WRONG),
    (siblings_visible, "mistral", ("tree",), WRONG),
    (prompt_lost, "llama", ("tree",), WRONG),
    (positions_are_rows, "llama", ("tree",), WRONG),
    (positions_are_rows, "gpt2", ("tree", "packed"), WRONG),
    (scored_one_row_early, "llama", ("tree", "packed"), WRONG),
    (scale_off, "llama", ("tree", "packed"), WRONG),
    (scale_of_the_config_ignored, "gemma2", ("tree", "packed"), WRONG),
    (softcap_dropped, "gemma2", ("tree", "packed"), WRONG),
    (sinks_dropped, "gpt_oss", ("tree", "packed"), WRONG),
    (sinks_without_gradient, "gpt_oss", ("tree",), WRONG),
    (keys_without_gradient, "llama", ("tree", "packed"), WRONG),
    (a_rectangle_lost, "llama", ("tree",), WRONG),
    (a_faint_leak, "llama", ("tree", "packed"), LEAKS),
    (not_a_number, "llama", ("tree",), WRONG),
    (
        a_crash,
        "llama",
        ("tree",),
        r"it fails on a small model of this kind \(the kernel is not there\)",
    ),
]


@pytest.mark.parametrize(
    ("plant", "family", "engine", "reason"),
    [
        pytest.param(plant, family, engine, reason, id=f"{plant.__name__}-{family}-{engine}")
        for plant, family, engines, reason in FAULTS
        for engine in engines
    ],
)
def test_a_planted_fault_is_named(
    plant: Callable[[Patch], None], family: str, engine: EngineName, reason: str
) -> None:
    model = model_of(family)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        fault = verdict_on(model, engine).fault
    assert fault is not None
    assert re.fullmatch(reason, fault)


@pytest.mark.parametrize("engine", ["tree", "packed", "padded"])
@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_fault_there_is_none(family: str, engine: EngineName) -> None:
    assert verdict_on(model_of(family), engine).fault is None


def test_padding_that_is_seen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is checked like the others."""
    from assay.model.batch import PaddedBatch

    right = PaddedBatch.of.__func__  # type: ignore[attr-defined]

    def faulty(cls: type, *arguments: Any) -> PaddedBatch:
        batch: PaddedBatch = right(cls, *arguments)
        return replace(batch, last_N=torch.full_like(batch.last_N, batch.ids_NL.shape[1] - 1))

    monkeypatch.setattr(PaddedBatch, "of", classmethod(faulty))
    fault = verdict_on(model_of("llama"), "padded").fault
    assert fault is not None
    assert re.fullmatch(WRONG, fault)


def test_a_model_without_a_twin_cannot_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: Any) -> Any:
        raise ModelError("no small twin of it can be built")

    model = model_of("llama")
    monkeypatch.setattr(selfcheck, "twin_of", refuse)
    assert (
        verdict_on(model, "tree").fault == "it cannot be checked: no small twin of it can be built"
    )


def test_the_probe_is_a_tree_of_three_depths_with_a_prefix_and_a_stranger() -> None:
    sequences, families = probe_sequences()
    depths = {len(segment.path) for segment in grow(sequences).segments}
    assert max(depths) >= 2
    assert min(map(len, sequences)) > 6, "the window of a twin"
    assert any(a != b and b[: len(a)] == a for a in sequences for b in sequences)
    assert len(set(families)) == 3


def test_the_error_of_nothing_is_nothing() -> None:
    zero, one = torch.zeros(3), torch.ones(3)
    assert error_norm(zero, zero) == 0
    assert error_norm(one, zero) > 1
    assert error_norm(one, zero, floor=1e6) < 1e-5
    assert error_norm(1.5 * one, one) == pytest.approx(0.5)


# Kept answers


def no_twin(config: Any) -> Any:
    raise AssertionError("a kept answer needs no twin")


@pytest.mark.parametrize("faulty", [False, True])
def test_an_answer_is_found_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, faulty: bool
) -> None:
    model = model_of("llama")
    with pytest.MonkeyPatch.context() as patch:
        if faulty:
            scale_off(patch)
        first = verdict_on(model, "tree").fault
    assert (first is not None) == faulty
    [file] = cache.iterdir()
    assert json.loads(file.read_text(encoding="utf-8")) == {"engine": "tree", "fault": first}
    monkeypatch.setattr(selfcheck, "twin_of", no_twin)
    assert verdict_on(model, "tree").fault == first
    # Weights do not matter, and neither does what another directory is called.
    again = model_of("llama")
    again.classifier.config._name_or_path = "/elsewhere"
    assert verdict_on(again, "tree").fault == first


def test_an_answer_holds_for_its_config_and_engine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict_on(model_of("mistral"), "tree")
    others = [
        (model_of("mistral", sliding_window=None), "tree"),
        (model_of("mistral", rms_norm_eps=1e-3), "tree"),
        (model_of("llama"), "tree"),
        (model_of("mistral"), "packed"),
    ]
    monkeypatch.setattr(selfcheck, "twin_of", no_twin)
    for model, engine in others:
        with pytest.raises(AssertionError, match="needs no twin"):
            verdict_on(model, engine)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["torch", "transformers"])
def test_an_answer_holds_for_its_versions_only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, right = model_of("llama"), selfcheck.metadata.version
    verdict_on(model, "tree")
    monkeypatch.setattr(selfcheck, "twin_of", no_twin)
    monkeypatch.setattr(
        selfcheck.metadata, "version", lambda asked: "9.9" if asked == name else right(asked)
    )
    with pytest.raises(AssertionError, match="needs no twin"):
        verdict_on(model, "tree")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"null", b'"tree"', b"\xff\xfe\x00", b'{"fault"'],
    ids=repr,
)
def test_a_damaged_answer_is_found_again(cache: Path, content: bytes) -> None:
    model = model_of("llama")
    assert verdict_on(model, "tree").fault is None
    [file] = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert verdict_on(model, "tree").fault is None
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where a directory should: that stops the superuser, too."""
    place = tmp_path / "file"
    place.write_text("not a directory")
    monkeypatch.setenv("ASSAY_CACHE", str(place))
    assert verdict_on(model_of("llama"), "tree").fault is None
    assert place.read_text() == "not a directory"


def test_a_directory_in_the_place_of_an_answer_does_no_harm(cache: Path) -> None:
    model = model_of("llama")
    verdict_on(model, "tree")
    [file] = cache.iterdir()
    file.unlink()
    file.mkdir()
    (file / "something").touch()
    assert verdict_on(model, "tree").fault is None


# Whoever asks


@contextlib.contextmanager
def half_by_default() -> Any:
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "around",
    [
        pytest.param(torch.no_grad, id="no_grad"),
        pytest.param(torch.inference_mode, id="inference_mode"),
        pytest.param(lambda: torch.device("meta"), id="another default device"),
        pytest.param(half_by_default, id="another default dtype"),
        pytest.param(lambda: torch.autocast("cpu", torch.bfloat16), id="autocast"),
    ],
)
def test_the_answer_does_not_depend_on_who_asks(around: Callable[[], Any]) -> None:
    model = model_of("llama")
    with around():
        assert verdict_on(model, "tree").fault is None


def test_the_check_leaves_the_model_and_the_random_numbers_alone() -> None:
    model = model_of("llama")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config, state = model.classifier.config.to_dict(), torch.get_rng_state()
    verdict_on(model, "tree")
    assert torch.equal(torch.get_rng_state(), state)
    assert model.classifier.config.to_dict() == config
    assert model.engine.name == "padded"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_kept_numbers_from_being_compared_is_tried_again(cache: Path) -> None:
    model = model_of("llama")
    with pytest.MonkeyPatch.context() as patch:
        a_crash(patch)
        verdict = verdict_on(model, "tree")
    assert verdict.fault is not None
    assert not verdict.compared
    assert not cache.exists()
    assert verdict_on(model, "tree").fault is None


def test_a_shortage_of_memory_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")

    def short(*arguments: Any, **other: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 GB")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selfcheck, "rewards_of_sequences", short)
        with pytest.raises(RuntimeError, match="allocate"):
            verdict_on(model, "tree")
    assert verdict_on(model, "tree").fault is None
