"""Jobs: parts, shards, Parquet, standard output, and what is refused of another job's parts."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.errors import AssayError, ConfigError, DataError, OutputError
from assay.model.reward_model import RewardModel
from assay.score import files
from assay.score.files import ScoreOptions, ScoreSummary, check_job_output, score_source
from assay.score.lines import Layout
from assay.score.merging import merge_shards
from assay.score.parts import Parts
from assay.score.rewarder import OneModel
from assay.score.settings import circumstances, differences
from assay.score.shards import Shard
from assay.score.streaming import score_stream
from assay.score.transform import parse_transform
from assay.score.watching import LinesNowAndThen, Watch
from assay.score.window import (
    ScoredWindow,
    Window,
    digest_of,
    read_window,
    score_window,
    unread_windows,
)

SMALL = ScoreOptions(window=5)
ROWS = 23  # five windows, the last one smaller


@pytest.fixture(scope="module")
def model(tiny_reward: Path) -> RewardModel:
    return RewardModel.load(str(tiny_reward))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    made = [{"prompt": f"Why {n}?", "responses": ["so " * (n % 4), "深"]} for n in range(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return DataSource(str(path))


@pytest.fixture(scope="module")
def bad_rows(rows: DataSource, tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    lines = Path(rows.path).read_text(encoding="utf-8").splitlines()
    lines[3], lines[11], lines[12] = "{", '{"prompt": 3, "responses": ["a"]}', "[]"
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return DataSource(str(path))


@pytest.fixture(scope="module")
def whole(model: RewardModel, rows: DataSource, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("whole") / "o.jsonl"
    score_source(OneModel(model, "m"), rows, output, SMALL)
    return output.read_bytes()


class BrokenOff(Exception):
    pass


class Breaks(Watch):
    """Breaks a job off when so many rows are done."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def at(self, rows: float) -> None:
        if rows > self.rows:
            raise BrokenOff


def break_off(
    model: RewardModel, source: DataSource, output: Path, options: ScoreOptions = SMALL
) -> None:
    with pytest.raises(BrokenOff):
        score_source(OneModel(model, "m"), source, output, options, Breaks(10))
    assert len(list(Parts(output).path.glob("window-*"))) == 2
    assert not output.exists()


class Counts(Watch):
    """Where a job begins."""

    def begin(self, total: int | None, done: int) -> None:
        self.begun = total, done


def test_a_window_is_a_function_that_can_be_sent(model: RewardModel, rows: DataSource) -> None:
    reader = SourceReader(rows)
    windows = [read_window(reader, *one) for one in unread_windows(reader, 5, None)]
    assert [len(window.rows) for window in windows] == [5, 5, 5, 5, 3]
    by = OneModel(model, "m")
    layout = Layout("assay", None, by.about)
    sent: Window = pickle.loads(pickle.dumps(windows[1]))
    back: ScoredWindow = pickle.loads(pickle.dumps(score_window(by, sent, layout)))
    assert back == score_window(by, windows[1], layout)
    assert back.number == 1
    assert len(back.lines) == 5
    assert pickle.loads(pickle.dumps(layout)) == layout


def test_windows_do_not_influence_one_another(
    model: RewardModel, rows: DataSource, whole: bytes, tmp_path: Path
) -> None:
    limited = replace(SMALL, limit=10)
    score_source(OneModel(model, "m"), rows, tmp_path / "o.jsonl", limited)
    assert whole.startswith((tmp_path / "o.jsonl").read_bytes())


def test_equal_texts_of_a_window_are_computed_once(model: RewardModel, tmp_path: Path) -> None:
    one = {"prompt": "Why?", "responses": ["Because.", "No idea."]}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one | {"id": n}) + "\n" for n in range(4)))
    computed = []
    for limit in (1, 4):
        output = tmp_path / f"{limit}.jsonl"
        options = ScoreOptions(limit=limit)
        summary = score_source(OneModel(model, "m"), DataSource(str(path)), output, options)
        computed.append((summary.tokens, summary.computed))
    (tokens, once), all_of_them = computed
    assert all_of_them == (4 * tokens, once)


def test_a_job_goes_on_where_it_was(
    model: RewardModel,
    rows: DataSource,
    whole: bytes,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = tmp_path / "o.jsonl"
    caplog.set_level("INFO", "assay")
    break_off(model, rows, output)
    assert caplog.messages == []
    counts = Counts()
    before = model.computed.tokens
    summary = score_source(OneModel(model, "m"), rows, output, SMALL, counts)
    assert output.read_bytes() == whole
    assert counts.begun == (ROWS, 10)
    told = "going on with a job that was broken off: 10 of 23 rows are done"
    assert caplog.messages == [told]
    assert model.computed.tokens - before < summary.computed  # of two jobs together
    assert (summary.rows, summary.responses) == (ROWS, 2 * ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["o.jsonl"]


def test_a_torn_part_is_done_again(
    model: RewardModel, rows: DataSource, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "o.jsonl"
    break_off(model, rows, output)
    part = Parts(output).path / "window-0000001.jsonl"
    part.write_bytes(part.read_bytes()[:-9])
    counts = Counts()
    score_source(OneModel(model, "m"), rows, output, SMALL, counts)
    assert counts.begun == (ROWS, 5)
    assert output.read_bytes() == whole


OTHERS: dict[str, tuple[Callable[[ScoreOptions], ScoreOptions], str]] = {
    "transform": (
        lambda o: replace(o, transform=parse_transform("sigmoid")),
        "--transform was not",
    ),
    "length": (lambda o: replace(o, max_length=99), "--max-length was not given, is 99"),
    "limit": (lambda o: replace(o, limit=20), "--limit was not given, is 20"),
    "window": (lambda o: replace(o, window=6), "window was 5, is 6"),
    "shard": (lambda o: replace(o, shard=Shard(1, 2)), "--shard was not given, is 1 of 2"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_parts_of_other_settings_are_refused(
    name: str, model: RewardModel, rows: DataSource, tmp_path: Path
) -> None:
    output = tmp_path / "o.jsonl"
    break_off(model, rows, output)
    change, says = OTHERS[name]
    with pytest.raises(OutputError) as refused:
        score_source(OneModel(model, "m"), rows, output, change(SMALL))
    assert f"o.jsonl.parts: holds parts of another job ({says}" in str(refused.value)
    assert "--overwrite" in str(refused.value)
    assert len(list(Parts(output).path.glob("window-*"))) == 2


def test_parts_of_another_model_or_input_are_refused_or_overwritten(
    model: RewardModel, rows: DataSource, whole: bytes, tmp_path: Path
) -> None:
    import torch

    copy = tmp_path / "rows.jsonl"
    copy.write_bytes(Path(rows.path).read_bytes().replace(b"Why 3?", b"How 3?"))
    output, source = tmp_path / "o.jsonl", DataSource(str(copy))
    break_off(model, source, output)
    copy.write_bytes(Path(rows.path).read_bytes())
    with pytest.raises(OutputError, match=r"another job \(the rows of --input are others\);"):
        score_source(OneModel(model, "m"), source, output, SMALL)
    weight = model.head_weight
    assert weight is not None
    with torch.no_grad():
        weight.mul_(2)
    with pytest.raises(OutputError, match="the weights are others; the rows of --input are others"):
        score_source(OneModel(model, "m"), source, output, SMALL)
    with torch.no_grad():
        weight.div_(2)
    score_source(OneModel(model, "m"), source, output, replace(SMALL, overwrite=True))
    assert output.read_bytes() == whole


def test_what_two_jobs_differ_in_is_told_by_options_and_without_hashes() -> None:
    before = {"model": "a", "weights": "12ab", "input path": "x", "model 2 template": "01cd"}
    now = {"model": "b", "weights": "34ef", "input path": "y", "model 2 template": "45ab"}
    assert differences(before, now) == [
        "--model was a, is b",
        "the weights are others",
        "--input was x, is y",
        "model 2: the template is another",
    ]


@pytest.mark.parametrize("name", ["rows.jsonl", "../rows/rows.jsonl", "link.jsonl"])
def test_an_input_is_never_overwritten(name: str, model: RewardModel, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    rows, output = folder / "rows.jsonl", folder / name
    text = json.dumps({"prompt": "q", "responses": ["a"]}) + "\n{\n"
    rows.write_text(text)
    (folder / "link.jsonl").symlink_to(rows)
    options = replace(SMALL, overwrite=True, on_bad_row="skip")
    for source in (str(rows), f"{folder}/r*.jsonl"):
        with pytest.raises(OutputError, match="is the input"):
            score_source(OneModel(model, "m"), DataSource(source), output, options)
    # Nor is it by the file of its bad rows.
    aside = folder / "o.jsonl.bad.jsonl"
    rows.rename(aside)
    with pytest.raises(OutputError, match="is the input"):
        score_source(OneModel(model, "m"), DataSource(str(aside)), folder / "o.jsonl", options)
    assert aside.read_text() == text


def test_a_shard_is_never_overwritten_by_the_merged_file(
    model: RewardModel, rows: DataSource, tmp_path: Path
) -> None:
    shards = shards_of(model, rows, tmp_path, 2)
    before = [shard.read_bytes() for shard in shards]
    (tmp_path / "link.jsonl").symlink_to(shards[1])
    for output in (shards[0], tmp_path / "link.jsonl", tmp_path / "1.jsonl.shard.json"):
        with pytest.raises(OutputError, match="is the input"):
            merge_shards(shards, output, overwrite=True)
    assert [shard.read_bytes() for shard in shards] == before
    with pytest.raises(DataError, match=r"nope\.jsonl: no such file; "):
        merge_shards([tmp_path / "nope.jsonl"], tmp_path / "o.jsonl", overwrite=False)


def test_rows_by_a_pipe_are_gone_on_with_or_refused(
    model: RewardModel,
    rows: DataSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, stdin = Path(rows.path).read_bytes(), DataSource("-")

    def pipe(given: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))

    whole, output = tmp_path / "whole.jsonl", tmp_path / "o.jsonl"
    pipe(data)
    score_source(OneModel(model, "m"), stdin, whole, SMALL)
    pipe(data)
    break_off(model, stdin, output)
    pipe(data.replace(b"Why 7?", b"How 7?"))
    with pytest.raises(DataError, match="its rows 6 and following are not those"):
        score_source(OneModel(model, "m"), stdin, output, SMALL)
    pipe(data)
    score_source(OneModel(model, "m"), stdin, output, SMALL)
    assert output.read_bytes() == whole.read_bytes()


def test_other_circumstances_are_warned_of(
    model: RewardModel,
    rows: DataSource,
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = tmp_path / "o.jsonl"
    break_off(model, rows, output)
    now = circumstances()
    monkeypatch.setattr(files, "circumstances", lambda: now | {"threads": 64})
    score_source(OneModel(model, "m"), rows, output, SMALL)
    [told] = [line.getMessage() for line in caplog.records if "circumstances" in line.getMessage()]
    assert f"(threads was {now['threads']}, is 64): the last bits of rewards may differ" in told
    assert output.read_bytes() == whole


def test_two_jobs_do_not_write_one_output(
    model: RewardModel, rows: DataSource, tmp_path: Path
) -> None:
    output = tmp_path / "o.jsonl"
    with Parts(output).kept():
        for options in (SMALL, replace(SMALL, overwrite=True)):
            with pytest.raises(OutputError, match="another job is writing it"):
                score_source(OneModel(model, "m"), rows, output, options)
            assert Parts(output).path.exists(), "it is the first job's, which has no window yet"


def test_a_job_leaves_the_parts_of_one_that_runs(
    model: RewardModel, rows: DataSource, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "o.jsonl"
    break_off(model, rows, output)
    before = {path: path.read_bytes() for path in Parts(output).path.iterdir()}
    other = replace(SMALL, overwrite=True, transform=parse_transform("sigmoid", None))
    with (
        Parts(output).kept(),
        pytest.raises(OutputError, match="another job is writing it"),
    ):
        score_source(OneModel(model, "m"), rows, output, other)
    assert {path: path.read_bytes() for path in Parts(output).path.iterdir()} == before
    score_source(OneModel(model, "m"), rows, output, SMALL)
    assert output.read_bytes() == whole


def test_windows_of_nobody_knows_what_are_not_taken_over(
    model: RewardModel, rows: DataSource, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "o.jsonl"
    with_more = replace(SMALL, transform=parse_transform("sigmoid", None))
    break_off(model, rows, output, with_more)
    (Parts(output).path / "manifest.json").write_text("")
    with pytest.raises(OutputError, match="its manifest cannot be read; add --overwrite"):
        score_source(OneModel(model, "m"), rows, output, SMALL)
    assert len(list(Parts(output).path.glob("window-*"))) == 2
    score_source(OneModel(model, "m"), rows, output, replace(SMALL, overwrite=True))
    assert output.read_bytes() == whole


def test_what_another_job_has_done_meanwhile_is_not_lost(
    model: RewardModel,
    rows: DataSource,
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "o.jsonl"
    own = files._Job._prepared

    def prepared(*arguments: Any) -> Any:
        manifest = own(*arguments)
        monkeypatch.undo()
        break_off(model, rows, output, replace(SMALL, max_length=64))
        return manifest

    monkeypatch.setattr(files._Job, "_prepared", prepared)
    with pytest.raises(OutputError, match="another job has written it meanwhile"):
        score_source(OneModel(model, "m"), rows, output, SMALL)
    assert len(list(Parts(output).path.glob("window-*"))) == 2


def test_an_output_that_is_there_is_refused(
    model: RewardModel, rows: DataSource, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "o.jsonl"
    output.write_bytes(b"kept")
    with pytest.raises(OutputError, match="is there already"):
        check_job_output(output, overwrite=False)
    score_source(OneModel(model, "m"), rows, output, replace(SMALL, overwrite=True))
    assert output.read_bytes() == whole


def test_a_finished_job_is_not_that_of_other_rows(
    model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal of the parts was broken off; the input has changed since."""
    path, output = tmp_path / "rows.jsonl", tmp_path / "o.jsonl"
    path.write_text('{"prompt": "Why?", "response": "So."}\n')
    monkeypatch.setattr(Parts, "remove", lambda self: None)
    source = DataSource(str(path))
    first = score_source(OneModel(model, "m"), source, output, SMALL)
    assert score_source(OneModel(model, "m"), source, output, SMALL) == first
    path.write_text('{"prompt": "Why?", "response": "Not so."}\n')
    with pytest.raises(OutputError, match="is there already"):
        score_source(OneModel(model, "m"), source, output, SMALL)


def told(summary: ScoreSummary) -> tuple[int, int, int]:
    return summary.rows, summary.responses, summary.bad_rows


def test_rows_in_are_rows_out_and_rejects(
    model: RewardModel, bad_rows: DataSource, tmp_path: Path
) -> None:
    output = tmp_path / "o.jsonl"
    with pytest.raises(DataError, match="3 bad rows"):
        score_source(OneModel(model, "m"), bad_rows, output, SMALL)
    assert not list(tmp_path.iterdir())
    summary = score_source(
        OneModel(model, "m"), bad_rows, output, replace(SMALL, on_bad_row="skip")
    )
    assert told(summary) == (20, 40, 3)
    assert output.read_bytes().count(b"\n") == 20
    aside = summary.bad_rows_file
    assert aside is not None
    places = [json.loads(line)["source"] for line in aside.read_text().splitlines()]
    assert places == [f"{bad_rows.path}:{line}" for line in (4, 12, 13)]


def shards_of(
    model: RewardModel, source: DataSource, folder: Path, count: int, **options: Any
) -> list[Path]:
    outputs = []
    for index in range(1, count + 1):
        outputs.append(folder / f"{index}.jsonl")
        chosen = replace(SMALL, shard=Shard(index, count), **options)
        score_source(OneModel(model, "m"), source, outputs[-1], chosen)
    return outputs


@pytest.mark.parametrize("count", [2, 3, 7])  # Two of seven shards have no window.
def test_shards_merge_to_what_one_job_writes(
    count: int, model: RewardModel, bad_rows: DataSource, tmp_path: Path
) -> None:
    single, merged = tmp_path / "single.jsonl", tmp_path / "merged.jsonl"
    one = score_source(OneModel(model, "m"), bad_rows, single, replace(SMALL, on_bad_row="skip"))
    shards = shards_of(model, bad_rows, tmp_path, count, on_bad_row="skip")
    all_of_them = merge_shards(shards[::-1], merged, overwrite=False)
    assert merged.read_bytes() == single.read_bytes()
    aside = "{}.bad.jsonl"
    assert (tmp_path / aside.format("merged.jsonl")).read_bytes() == (
        tmp_path / aside.format("single.jsonl")
    ).read_bytes()
    assert replace(all_of_them, bad_rows_file=None) == replace(one, bad_rows_file=None)


def test_shards_that_are_not_one_job_are_refused(
    model: RewardModel, rows: DataSource, tmp_path: Path
) -> None:
    first, second, third = shards_of(model, rows, tmp_path, 3)
    output = tmp_path / "merged.jsonl"

    def refused(*shards: Path) -> str:
        with pytest.raises(DataError) as error:
            merge_shards(shards, output, overwrite=False)
        assert not output.exists()
        return str(error.value)

    assert "missing: shard 2 of 3; " in refused(first, third)
    assert "missing: shard 1 of 3, shard 3 of 3; " in refused(second)
    twice = refused(first, second, third, second)
    assert f"shard 2 of 3 is given twice: {second} and {second}" in twice
    (tmp_path / "of-two").mkdir()
    half, _ = shards_of(model, rows, tmp_path / "of-two", 2)
    assert "of 3 shards, of 2" in refused(first, half)
    longer = tmp_path / "longer.jsonl"
    score_source(
        OneModel(model, "m"), rows, longer, replace(SMALL, shard=Shard(2, 3), max_length=99)
    )
    assert "(--max-length was not given, is 99)" in refused(first, longer, third)
    assert "no shard's output" in refused(first, Path(rows.path), third)
    third.write_bytes(third.read_bytes().replace(b"Why", b"How", 1))
    assert "is not as the shard's job wrote it" in refused(first, second, third)


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(ConfigError, match="is no shard"):
        Shard.parse(text)


def test_parquet_holds_what_the_lines_hold(
    model: RewardModel, rows: DataSource, whole: bytes, tmp_path: Path
) -> None:
    from pyarrow.parquet import ParquetFile, read_table

    output = tmp_path / "o.parquet"
    score_source(OneModel(model, "m"), rows, output, SMALL)
    assert read_table(output).to_pylist() == [json.loads(line) for line in whole.splitlines()]
    assert ParquetFile(output).num_row_groups == 5
    shards = shards_of(model, rows, tmp_path, 2)
    merge_shards(shards, tmp_path / "merged.parquet", overwrite=False)
    assert (tmp_path / "merged.parquet").read_bytes() == output.read_bytes()
    with pytest.raises(ConfigError, match="a shard's output is JSON lines"):
        score_source(
            OneModel(model, "m"), rows, tmp_path / "s.parquet", replace(SMALL, shard=Shard(1, 2))
        )


def test_columns_widen_over_windows_and_strange_ones_are_refused(
    model: RewardModel, tmp_path: Path
) -> None:
    from pyarrow.parquet import read_table

    path = tmp_path / "rows.jsonl"

    def write(*values: object) -> DataSource:
        made = [{"prompt": "q", "response": "a", "x": value} for value in values]
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
        return DataSource(str(path))

    output = tmp_path / "o.parquet"
    options = replace(SMALL, window=2, overwrite=True)
    score_source(OneModel(model, "m"), write(None, None, 1, 2, 0.5, None), output, options)
    assert read_table(output)["x"].to_pylist() == [None, None, 1.0, 2.0, 0.5, None]
    for values in ((1, 2, "three", None), ({}, {}, {}, {})):
        with pytest.raises(OutputError) as refused:
            score_source(OneModel(model, "m"), write(*values), tmp_path / "p.parquet", options)
        assert "p.parquet: a column has no one type that Parquet can hold" in str(refused.value)
        Parts(tmp_path / "p.parquet").remove()


@pytest.mark.parametrize("name", ["o.csv", "o.json", "o.jsonl.gz"])
def test_other_kinds_of_files_are_not_written(
    name: str, model: RewardModel, rows: DataSource, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"\.jsonl or \.parquet"):
        score_source(OneModel(model, "m"), rows, tmp_path / name, SMALL)


def test_a_stream_hands_on_window_by_window(
    model: RewardModel, rows: DataSource, bad_rows: DataSource, whole: bytes
) -> None:
    by, watch = OneModel(model, "m"), Watch()
    got: list[ScoredWindow] = []
    score_stream(by, rows, SMALL, got.append, watch)
    assert [len(window.lines) for window in got] == [5, 5, 5, 5, 3]
    lines = "".join(f"{line}\n" for window in got for line in window.lines)
    assert lines.encode() == whole
    got.clear()
    with pytest.raises(AssayError, match=r"2 bad rows: .*:12: .*:13: "):
        score_stream(by, replace_limit(bad_rows, 3), SMALL, got.append, watch)
    assert len(got) == 2
    got.clear()
    score_stream(by, bad_rows, replace(SMALL, on_bad_row="skip"), got.append, watch)
    assert [len(window.bad_rows) for window in got] == [1, 0, 2, 0, 0]


def replace_limit(source: DataSource, line: int) -> DataSource:
    """The same rows, that line mended."""
    path = Path(source.path)
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line] = lines[0]
    mended = path.with_name("mended.jsonl")
    mended.write_text("\n".join(lines), encoding="utf-8")
    return DataSource(str(mended))


def test_the_digest_of_a_window_is_of_rows_and_places(rows: DataSource) -> None:
    found = [digest_of(some) for _, some in unread_windows(SourceReader(rows), 5, None)]
    assert len(set(found)) == 5
    again = [digest_of(some) for _, some in unread_windows(SourceReader(rows), 5, None)]
    assert found == again


def test_lines_say_the_time_that_is_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("assay.score.watching.time.monotonic", lambda: now[0])
    caplog.set_level("INFO", "assay")
    watch = LinesNowAndThen(30)
    watch.begin(10_000, 4_000)
    for seconds, done in ((10, 4_100), (40, 4_200.5), (50, 4_300), (100, 5_000)):
        now[0] = 100.0 + seconds
        watch.at(done)
    assert [line.getMessage() for line in caplog.records] == [
        "4,200 of 10,000 rows, 5.0 rows/s, 0:19:17 left",
        "5,000 of 10,000 rows, 10.0 rows/s, 0:08:20 left",
    ]
