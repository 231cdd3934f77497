"""What a run says of its tokens: each field of the log against the data themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import log_of, recipe, rows, write_lines

from assay.data.encoding import EncodedGroup, encode_groups
from assay.data.loading import load_groups
from assay.data.rendering import TokenIds
from assay.data.sources import DataSource
from assay.model.engine import ENGINES, EngineName
from assay.model.loading import load_reward_model
from assay.train.log import RunLog
from assay.train.loop import train
from assay.train.plan import Plan
from assay.train.step import StepResult
from assay.train.trackers import Trackers

BUDGET = 75
"""Of six groups one has 81 tree tokens, and so is larger than a pack."""


@dataclass(frozen=True)
class Run:
    """What a run wrote, and its groups as the model reads them."""

    entries: list[dict[str, Any]]
    lines: list[str]
    groups: list[EncodedGroup]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[EngineName, Run]:
    """Six prompts in batches of 2; in a tree over 4 epochs, which are 12 steps, else over one."""
    folder = tmp_path_factory.mktemp("log")
    data = write_lines(folder / "train.jsonl", list(rows(6)))
    found: dict[EngineName, Run] = {}
    for engine in ENGINES:
        checked = recipe(
            tiny_base,
            data,
            folder / engine,
            engine=engine,
            max_length=64,
            max_tokens_per_pack=BUDGET,
            num_train_epochs=4 if engine == "tree" else 1,
            save_steps=None,
            logging_steps=3,
        )
        run = train(checked).run
        model = load_reward_model(str(run / "model"), engine="padded")
        groups = load_groups([DataSource(str(data))]).groups
        found[engine] = Run(
            log_of(run),
            (run / "train.log").read_text(encoding="utf-8").splitlines(),
            encode_groups(groups, model.renderer, max_length=64).groups,
        )
    return found


every_engine = pytest.mark.parametrize("engine", ENGINES)


@every_engine
def test_each_epoch_logs_every_token_of_the_data(
    runs: dict[EngineName, Run], engine: EngineName
) -> None:
    run = runs[engine]
    tokens = sum(group.num_tokens for group in run.groups)
    sequences = sum(len(group.sequences) for group in run.groups)
    epochs = {entry["epoch"] for entry in run.entries}
    for epoch in epochs:
        entries = [entry for entry in run.entries if entry["epoch"] == epoch]
        assert len(entries) == 3
        assert sum(entry["num_tokens"] for entry in entries) == tokens
        assert sum(entry["num_sequences"] for entry in entries) == sequences


@every_engine
def test_shares_are_those_of_the_counts(runs: dict[EngineName, Run], engine: EngineName) -> None:
    for entry in runs[engine].entries:
        computed, room = entry["num_tree_tokens"], entry["num_packs"] * BUDGET
        assert entry["share_saved"] == pytest.approx(1 - computed / entry["num_tokens"])
        assert entry["pack_fill"] == pytest.approx(computed / room)
        # No sequence is longer than a pack, so that no pack is fuller than full.
        assert 0 < entry["pack_fill"] <= 1
        assert entry["num_packs"] >= computed / BUDGET
        assert entry["peak_memory_bytes"] > 2**26
        speed = entry["num_comparisons"] / entry["seconds"]
        assert entry["pairs_per_second"] == pytest.approx(speed)


def prefixes(sequences: Sequence[TokenIds]) -> set[TokenIds]:
    return {ids[: end + 1] for ids in sequences for end in range(len(ids))}


def test_a_tree_computes_each_prefix_of_a_group_once(runs: dict[EngineName, Run]) -> None:
    # No two groups fit into one pack, in which they could share the begin of their prompts.
    run, plan = runs["tree"], Plan.of(6, 2, 3, 4, None)
    trees = [len(prefixes(group.sequences)) for group in run.groups]
    assert sum(sorted(trees)[:2]) > BUDGET
    [large] = [number for number, tree in enumerate(trees) if tree > BUDGET]
    # The large one is computed twice, in packs that each hold the prompt.
    sequences = run.groups[large].sequences
    packs = ENGINES["tree"].cut(sequences, [0] * len(sequences), BUDGET)
    assert len(packs) == 2
    parts = (prefixes([sequences[index] for index in pack]) for pack in packs)
    trees[large] = 2 * sum(map(len, parts))
    for step, entry in enumerate(run.entries):
        groups = plan.groups_of(step)
        assert entry["num_tokens"] == sum(run.groups[number].num_tokens for number in groups)
        assert entry["num_tree_tokens"] == sum(trees[number] for number in groups)
        assert entry["num_split_groups"] == (large in groups)
        assert entry["num_packs"] == (5 if large in groups else 2)
        if large not in groups:
            assert entry["num_tree_tokens"] < entry["num_tokens"]
            assert entry["share_saved"] > 0


def test_without_sharing_every_token_is_computed(runs: dict[EngineName, Run]) -> None:
    # Of a group above the budget twice. Padding comes on top.
    for engine in ("packed", "padded"):
        for entry in runs[engine].entries:
            assert entry["num_tree_tokens"] >= entry["num_tokens"]
    whole = [entry for entry in runs["packed"].entries if not entry["num_split_groups"]]
    assert all(entry["num_tree_tokens"] == entry["num_tokens"] for entry in whole)
    assert all(entry["share_saved"] == 0 for entry in whole)


TOKENS = re.compile(
    r"step:\[(?P<step>\d+)/\d+\].*, tokens:(?P<tokens>\d+), "
    r"(?P<what>tree|computed) tokens:(?P<computed>\d+) "
    r"\((?P<saved>\d+)% (?P<change>saved|more)\), pack fill:(?P<fill>\d+)%"
    r"(, larger than a pack: (?P<split>\d+) groups?, computed twice)?"
)


@every_engine
def test_lines_for_people_sum_over_the_steps_since_the_last(
    runs: dict[EngineName, Run], engine: EngineName
) -> None:
    run = runs[engine]
    lines = [match for line in run.lines if (match := TOKENS.search(line))]
    steps = [int(line["step"]) for line in lines]
    assert steps == ([1, 3, 6, 9, 12] if engine == "tree" else [1, 3])
    for line, first, last in zip(lines, [0, *steps], steps, strict=False):
        entries = run.entries[first:last]

        def total(name: str, entries: list[dict[str, Any]] = entries) -> int:
            return sum(entry[name] for entry in entries)

        computed = total("num_tree_tokens")
        assert (int(line["tokens"]), int(line["computed"])) == (total("num_tokens"), computed)
        assert line["what"] == ("tree" if engine == "tree" else "computed")
        saved = 1 - computed / total("num_tokens")
        assert (line["saved"], line["change"]) == (
            f"{abs(saved):.0%}".rstrip("%"),
            "saved" if saved >= 0 else "more",
        )
        assert line["fill"] == f"{computed / (total('num_packs') * BUDGET):.0%}".rstrip("%")
        assert int(line["split"] or 0) == total("num_split_groups")
    assert any(line["split"] for line in lines)


@every_engine
def test_the_cost_of_the_run_is_said_once(runs: dict[EngineName, Run], engine: EngineName) -> None:
    # After ten steps with what is left, or at the end of a shorter run.
    steps, left = (
        (10, r", about 1 min left, evaluations not counted") if engine == "tree" else (3, "")
    )
    forecast = re.compile(rf"after {steps} steps: \d+\.\d\d pairs/s, peak memory \d+\.\d GiB{left}")
    said = [line for line in runs[engine].lines if line.startswith("after ")]
    assert len(said) == 1
    assert forecast.fullmatch(said[0])
    begun = [line for line in runs[engine].lines if line.startswith("engine ")]
    assert begun == [f"engine {engine}, packs of at most {BUDGET} tokens (by the recipe)"]


@pytest.mark.parametrize(("first", "after"), [(1, 10), (5, 8), (12, 1)])
def test_a_resumed_run_says_what_it_costs_once(tmp_path: Path, first: int, after: int) -> None:
    # Twelve steps: after ten steps of its own, or at its end.
    plan = Plan.of(24, 2, 0, 1, None)
    told = Trackers([], tmp_path, {})
    with RunLog(tmp_path, plan, logging_steps=100, trackers=told, first_step=first) as log:
        for step in range(first, 13):
            result = StepResult(num_comparisons=3, num_sequences=4, num_tokens=50)
            result.num_computed_tokens, result.num_packs, result.room = 40, 1, 64
            result.seconds, result.peak_bytes = 36.0, 3 * 2**30
            log.step(step, result, 0.7)
    lines = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    # 3 comparisons in 36 seconds; two steps of 36 seconds are left, 1.2 minutes.
    left = ", about 2 min left, evaluations not counted" if first == 1 else ""
    assert [line for line in lines if line.startswith("after ")] == [
        f"after {after} steps: 0.08 pairs/s, peak memory 3.0 GiB{left}"
    ]
