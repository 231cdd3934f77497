"""A store holds what the path through memory gives, however it was made."""

from __future__ import annotations

import json
import pickle
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_rows import MakePreparation, bytes_of, lines_of, write

from assay.data.encoding import encode_groups
from assay.data.loading import load_groups
from assay.data.prompts import normalised_prompt_hash
from assay.data.sources import DataSource
from assay.data.store import (
    Preparation,
    StoredData,
    check_dropped,
    open_store,
    prepare_source,
)
from assay.data.store import chunks as chunking
from assay.data.store import workers as working
from assay.data.store.joining import Joined, JoinedData
from assay.errors import DataError


@pytest.fixture
def over_the_disk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Small chunks and partitions even for a few rows."""
    monkeypatch.setattr(chunking, "ROWS_IN_MEMORY", 20)
    monkeypatch.setattr(chunking, "_ROWS", 16)
    monkeypatch.setattr(chunking, "_FEWEST", 5)
    monkeypatch.setattr(working, "_STARTING", 0)  # Nothing is done here meanwhile.
    return monkeypatch


def check_same(store: StoredData, path: Path, how: Preparation) -> None:
    """The store against `load_groups` and `encode_groups`: all of it."""
    loaded = load_groups([DataSource(str(path))], on_bad_row="skip", group_by=how.group_by)
    encoded = encode_groups(
        loaded.groups,
        how.renderer,
        max_length=how.max_length,
        over_length=how.over_length,
        on_bad_row="skip",
    )
    assert list(store.groups) == list(encoded.groups)
    assert list(store.skipped) == [*loaded.skipped, *encoded.skipped]
    assert list(store.bad_rows) == [*loaded.bad_rows, *encoded.bad_rows]
    assert (len(store.skipped), len(store.bad_rows)) == (
        len(loaded.skipped) + len(encoded.skipped),
        len(loaded.bad_rows) + len(encoded.bad_rows),
    )
    assert store.num_comparisons == encoded.num_comparisons
    assert store.num_tokens == encoded.num_tokens
    assert store.last_tokens == encoded.last_tokens
    assert store.specials_in_content == encoded.specials_in_content
    assert store.cut_prompts == encoded.cut_prompts
    assert store.account.rows == loaded.num_rows
    assert [store.account.sha256] == loaded.fingerprints


@pytest.mark.parametrize("group_by", ["prompt", "row"])
@pytest.mark.parametrize("over_length", ["drop", "drop_oldest_turns", "truncate_prompt_left"])
@pytest.mark.parametrize("rows", [1, 15, 200])
def test_a_store_is_what_memory_gives(
    rows: int,
    over_length: str,
    group_by: str,
    preparation: MakePreparation,
    tmp_path: Path,
    over_the_disk: pytest.MonkeyPatch,
) -> None:
    path = write(tmp_path / "rows.jsonl", lines_of(rows, seed=rows))
    how = preparation(over_length=over_length, group_by=group_by)
    store = prepare_source(DataSource(str(path)), how, workers=1, output=tmp_path / "store")
    assert (len(list((tmp_path / "store").glob("shard-*"))) == 5) == (rows == 200)
    check_same(store, path, how)
    check_same(open_store(tmp_path / "store"), path, how)


def through_memory(source: DataSource, how: Preparation) -> None:
    loaded = load_groups([source], on_bad_row=how.on_bad_row)
    encode_groups(
        loaded.groups, how.renderer, max_length=how.max_length, over_length=how.over_length
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"prompt": st.sampled_from(["a", "b", " ", "c d"]), "pos_resp": TEXTS, "neg_resp": TEXTS},
        optional={"x": st.none() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2)},
    ),
    min_size=1,
    max_size=60,
)


@given(rows=ROWS, group_by=st.sampled_from(["prompt", "row"]), max_length=st.integers(12, 60))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_rows(
    rows: list[dict[str, Any]],
    group_by: Literal["prompt", "row"],
    max_length: int,
    preparation: MakePreparation,
    tmp_path_factory: pytest.TempPathFactory,
    over_the_disk: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = write(folder / "rows.jsonl", [json.dumps(row) for row in rows])
    how = preparation(group_by=group_by, max_length=max_length)
    if all(
        row["pos_resp"].strip() == row["neg_resp"].strip() or row["prompt"] == " " for row in rows
    ):
        with pytest.raises(DataError, match="no usable row") as raised:
            prepare_source(DataSource(str(path)), how, workers=1, output=folder / "store")
        with pytest.raises(DataError) as expected:
            load_groups([DataSource(str(path))], on_bad_row="skip")
        assert str(raised.value) == str(expected.value)
        assert {found.name for found in folder.iterdir()} == {"rows.jsonl"}
        return
    check_same(
        prepare_source(DataSource(str(path)), how, workers=1, output=folder / "store"), path, how
    )


def test_rated_rows_are_compared_across_chunks(
    preparation: MakePreparation, tmp_path: Path, over_the_disk: pytest.MonkeyPatch
) -> None:
    rows = [
        {
            "prompt": f"question {number % 23}",
            "response": f"answer {number}",
            **{
                key: (number * 7) % 5
                for key in ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
            },
        }
        for number in range(90)
    ]
    path = write(tmp_path / "rows.jsonl", [json.dumps(row) for row in rows])
    how = preparation()
    store = prepare_source(DataSource(str(path)), how, workers=1, output=tmp_path / "store")
    assert store.num_comparisons > 90
    check_same(store, path, how)


def test_rows_with_one_id_get_their_own(
    preparation: MakePreparation, tmp_path: Path, over_the_disk: pytest.MonkeyPatch
) -> None:
    answers = [{"messages": [{"role": "assistant", "content": text}]} for text in ("a", "b")]
    rows = [
        {
            "assay_group": 1,
            "id": id,
            "prompt": [{"role": "user", "content": f"question {number}"}],
            "responses": answers,
            "comparisons": [{"a": 0, "b": 1, "outcome": "a"}],
        }
        for number, id in enumerate(["one", "two", "one.2", "一"] * 10)
    ]
    path = write(tmp_path / "rows.jsonl", [json.dumps(row) for row in rows])
    how = preparation(group_by="row")
    store = prepare_source(DataSource(str(path)), how, workers=1, output=tmp_path / "store")
    ids = [group.group.id for group in store.groups]
    assert len(set(ids)) == len(ids) == 40
    assert ids[:5] == ["one", "two", "one.2", "一", f"one@{path}:5"]
    check_same(store, path, how)


@pytest.fixture
def few_open_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_more_partitions_than_files_may_be_open(
    preparation: MakePreparation,
    tmp_path: Path,
    over_the_disk: pytest.MonkeyPatch,
    few_open_files: None,
) -> None:
    over_the_disk.setattr(chunking, "_FEWEST", 170)
    system = {"role": "system", "content": "twice"}
    rows: list[dict[str, Any]] = []
    for number in range(800):
        ask = [{"role": "user", "content": f"question {number}"}]
        long = "too long " * 100 if number % 4 == 1 else "fine"
        refused = [system, system] if number % 4 == 2 else []
        rows.append({"prompt": [*refused, *ask], "chosen": long, "rejected": "no"})
    path = write(tmp_path / "rows.jsonl", [json.dumps(row) for row in rows])
    how = preparation("cvalues-zh")
    store = prepare_source(DataSource(str(path)), how, workers=1, output=tmp_path / "store")
    assert store.account.dropped == {"bad row": 200, "over 120 tokens": 200}
    check_same(store, path, how)


@pytest.mark.slow
def test_processes_and_partitions_change_nothing(
    preparation: MakePreparation, tmp_path: Path, over_the_disk: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.jsonl", lines_of(150))
    source, how = DataSource(str(path)), preparation()
    stores = [
        prepare_source(source, how, workers=workers, output=tmp_path / f"store-{workers}")
        for workers in (1, 2, 3)
    ]
    assert bytes_of(stores[0].path) == bytes_of(stores[1].path) == bytes_of(stores[2].path)
    over_the_disk.setattr(chunking, "_FEWEST", 2)
    over_the_disk.setattr(chunking, "_ROWS", 7)
    other = prepare_source(source, how, workers=1, output=tmp_path / "other")
    assert list(other.groups) == list(stores[0].groups)
    for name in ("dropped.jsonl", "bad_rows.jsonl"):
        assert (other.path / name).read_bytes() == (stores[0].path / name).read_bytes()
    numbers = [{**vars(data.account), "shards": None} for data in (other, stores[0])]
    assert numbers[0] == numbers[1]


def test_groups_are_read_when_they_are_asked_for(
    preparation: MakePreparation, tmp_path: Path, over_the_disk: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.jsonl", lines_of(150))
    store = prepare_source(DataSource(str(path)), preparation(), output=tmp_path / "s", workers=1)
    groups, everything = store.groups, list(store.groups)
    assert len(groups) == len(everything) == store.account.groups
    assert groups[-1] == everything[-1]
    for index in (slice(3, 9), slice(None, None, -1), slice(4, 400, 7)):
        assert list(groups[index]) == everything[index]
        assert groups[index].column("num_tokens").tolist() == [
            group.num_tokens for group in everything[index]
        ]
    with pytest.raises(IndexError):
        groups[len(groups)]
    assert list(pickle.loads(pickle.dumps(groups[5:8]))) == everything[5:8]
    assert list(groups.take([7, 2])) == [everything[7], everything[2]]
    assert groups.take([7, 2]).column("num_comparisons").tolist() == [
        len(everything[7].comparisons),
        len(everything[2].comparisons),
    ]
    hashes = [normalised_prompt_hash(group.group.prompt) for group in everything]
    assert [bytes(value) for value in groups.column("prompt_hash")] == hashes
    assert store.skipped[2:4] == list(store.skipped)[2:4]
    assert store.bad_rows[-1] == list(store.bad_rows)[-1]


def test_joined_stores(preparation: MakePreparation, tmp_path: Path) -> None:
    stores = [
        prepare_source(
            DataSource(str(write(tmp_path / f"{seed}.jsonl", lines_of(30, seed)))),
            preparation(),
            output=tmp_path / f"store-{seed}",
        )
        for seed in (1, 2)
    ]
    taken = [stores[0].groups.take([3, 1]), stores[1].groups[2:5]]
    joined = JoinedData(stores, taken)
    expected = [stores[0].groups[3], stores[0].groups[1], *stores[1].groups[2:5]]
    assert [joined.groups[number] for number in range(5)] == expected == list(joined.groups)
    assert list(joined.groups[1:4]) == expected[1:4]
    assert joined.num_tokens == sum(group.num_tokens for group in expected)
    assert joined.num_comparisons == sum(len(group.comparisons) for group in expected)
    assert list(joined.skipped) == [*stores[0].skipped, *stores[1].skipped]
    assert len(Joined([])) == 0


def test_account_and_share_of_what_was_dropped(
    preparation: MakePreparation, tmp_path: Path
) -> None:
    good = [{"prompt": f"{n}", "pos_resp": "x", "neg_resp": "y"} for n in range(18)]
    rows = [*good, {"prompt": "p", "pos_resp": "z", "neg_resp": "z"}]
    path = write(tmp_path / "rows.jsonl", [*map(json.dumps, rows), "{"])
    store = prepare_source(DataSource(str(path)), preparation(), output=tmp_path / "store")
    written = json.loads((tmp_path / "store" / "prepare.json").read_text())
    assert (written["rows"], written["groups"], written["comparisons"]) == (20, 18, 18)
    assert written["dropped"] == {"bad row": 1, "identical answers": 1}
    dropped = (tmp_path / "store" / "dropped.jsonl").read_text()
    assert json.loads(dropped) == {"row": f"{path}:19", "reason": "identical answers"}
    assert store.account.dropped_share == 0.1
    check_dropped("it", store.account, 0.1)
    with pytest.raises(DataError, match=r"it: 2 of 20 comparisons would be dropped \(10.0%"):
        check_dropped("it", store.account, 0.0999)


def test_bad_rows_and_long_ones_as_errors_leave_nothing(
    preparation: MakePreparation, tmp_path: Path, over_the_disk: pytest.MonkeyPatch
) -> None:
    for count in (12, 120):
        path = write(tmp_path / "rows.jsonl", [*lines_of(count), "{", "{"])
        source = DataSource(str(path))
        for changes, what in (
            ({"on_bad_row": "error"}, "bad rows"),
            ({"over_length": "error", "max_length": 30}, "more than max_length 30"),
        ):
            how = preparation(**changes)
            with pytest.raises(DataError, match=what) as raised:
                prepare_source(source, how, workers=1, output=tmp_path / "store")
            with pytest.raises(DataError) as expected:
                through_memory(source, how)
            assert str(raised.value) == str(expected.value)
            assert {found.name for found in tmp_path.iterdir()} == {"rows.jsonl"}
