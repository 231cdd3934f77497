"""Data sets of both hubs: the real clients against a local server, then the cache alone."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parents[1] / "model"))
from pull_process import pull_environment
from pull_server import HubServer, commit_of

from assay.data.hub import DatasetName, dataset_name, pull_dataset
from assay.data.loading import load_groups
from assay.data.sources import DataSource, locate
from assay.errors import DataError, PullError
from assay.fetch.record import read_record

pytestmark = pytest.mark.slow

HUBS = ["hf://", pytest.param("modelscope://", marks=pytest.mark.slow)]
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
DATA = {
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/test.jsonl.gz",
    "notes.csv",
}

DRIVER = """
import json, sys
from assay.data.hub import pull_dataset
from assay.data.rows import read_rows
from assay.data.sources import DataSource
from assay.errors import AssayError
from assay.notices import show_on_stderr
show_on_stderr()
out = []
for kind, path, options in json.loads(sys.argv[1]):
    try:
        if kind == "pull":
            pulled = pull_dataset(path, **options)
            out.append({"path": str(pulled.path), "licence": pulled.licence,
                        "source": pulled.source,
                        "splits": {name: len(files) for name, files in pulled.splits.items()},
                        "unassigned": pulled.unassigned})
        else:
            out.append([str(row.source) for row in read_rows(DataSource(path, **options))])
    except AssayError as error:
        out.append({"error": str(error)})
heavy = sorted({"torch", "huggingface_hub", "modelscope"} & set(sys.modules))
print(json.dumps([out, heavy]))
"""


def upload(folder: Path, rows: int) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Pairs\n")
    for shard in range(2):
        table = pa.Table.from_pylist([PAIR] * (rows + shard))
        pq.write_table(table, folder / f"data/train-0000{shard}-of-00002.parquet")
    packed = gzip.compress(json.dumps(PAIR).encode())
    (folder / "data/test.jsonl.gz").write_bytes(packed)
    (folder / "notes.csv").write_text("a\n1\n")
    (folder / "dataset_infos.json").write_text("{}")
    (folder / "loader.py").write_text("raise SystemExit('this was run')")
    (folder / "model.safetensors").write_bytes(b"not wanted")
    return folder


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    root = tmp_path_factory.mktemp("uploads")
    (root / "script").mkdir()
    (root / "script" / "loader.py").write_text("")
    (root / "script" / "README.md").write_text("# made by a script")
    return {
        "org/pairs": {"default": upload(root / "one", 2), "v2/next": upload(root / "two", 5)},
        "org/script": {"default": root / "script"},
    }


@pytest.fixture
def server(uploads: dict[str, dict[str, Path]]) -> Iterator[HubServer]:
    with HubServer(dict(uploads)) as server:
        yield server


@pytest.fixture
def environment(server: HubServer, tmp_path: Path) -> dict[str, str]:
    return pull_environment(tmp_path, HF_ENDPOINT=server.url, MODELSCOPE_ENDPOINT=server.url)


def run(order: list[Any], environment: dict[str, str], folder: Path) -> tuple[Any, str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRIVER, json.dumps(order)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results, heavy = json.loads(done.stdout)
    return results, done.stderr, heavy


@pytest.mark.parametrize("hub", HUBS)
def test_data_files_arrive_and_nothing_else(
    hub: str, server: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    name = f"{hub}org/pairs"
    copy = tmp_path / "copy"
    order = [["pull", name, {}], ["pull", name, {"output": str(copy)}]]
    (pulled, copied), said, _ = run(order, environment, tmp_path)

    place = Path(pulled["path"])
    assert said == ""
    files = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert files == DATA | {"README.md", "assay_pull.json"}
    origin = server.repositories["org/pairs"]["default"]
    for file in DATA:
        assert (place / file).read_bytes() == (origin / file).read_bytes()
    assert "loader.py" not in server.served
    assert "model.safetensors" not in server.served
    assert pulled["splits"] == {"train": 2, "test": 1}
    assert pulled["unassigned"] == ["notes.csv"]
    assert pulled["licence"] == "cc-by-4.0"
    assert f"{server.url}/datasets/org/pairs" in pulled["source"]
    assert hub == "modelscope://" or f"commit {commit_of('default')}" in pulled["source"]
    assert copied["path"] == str(copy)
    assert {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()} == files
    assert len(load_groups([DataSource(str(copy), split="train")]).groups) == 1


@pytest.mark.parametrize("hub", HUBS)
def test_reading_fetches_once_and_says_so(
    hub: str, server: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    name = f"{hub}org/pairs"
    order = [["read", name, {"split": split}] for split in ("train", "test")]
    order.append(["read", name, {"split": "train", "revision": "v2/next"}])
    (train, test, next_train), said, _ = run(order, environment, tmp_path)
    assert said == f"note: {name} is not in the cache: fetching it, once\n" * 2
    assert train == [
        f"{name}/data/train-0000{shard}-of-00002.parquet:{number}"
        for shard, rows in enumerate((2, 3))
        for number in range(1, rows + 1)
    ]
    assert test == [f"{name}/data/test.jsonl.gz:1"]
    assert len(next_train) == 5 + 6

    server.broken = True
    again, said, heavy = run(order, environment, tmp_path)
    assert again == [train, test, next_train]
    assert (said, heavy) == ("", [])


def test_a_plain_name_is_a_data_set_where_nothing_of_that_name_is_here(
    environment: dict[str, str], tmp_path: Path
) -> None:
    order = [
        ["read", "org/pairs", {"split": "test"}],
        ["read", "org/none", {}],
        ["read", "org/pairs", {}],
        ["read", "org/pairs", {"split": "tset"}],
        ["read", "org/pairs:nope", {}],
    ]
    results, said, _ = run(order, environment, tmp_path)
    assert results[0] == ["org/pairs/data/test.jsonl.gz:1"]
    assert (
        "no such data set, or a private one (nor is there a file or directory 'org/none' here)"
        in (results[1]["error"])
    )
    assert "org/pairs: has the splits train, test, and none is named" in results[2]["error"]
    assert "no split 'tset'; did you mean 'test'?" in results[3]["error"]
    assert "has no configuration 'nope'; known: data" in results[4]["error"]
    assert said.count("fetching it") == 2


REFUSED = {
    "hf://": [
        ("org/none", {}, "no such data set, or a private one; check the name"),
        ("org/pairs", {"revision": "v3"}, "no revision 'v3'; give --revision"),
        ("org/gated", {}, "access to this data set is restricted; accept its conditions"),
        ("org/script", {}, "has no data files (a script that makes them is never run)"),
        ("org/pairs", {"revision": "../x"}, "'../x' cannot be a revision"),
    ],
    "modelscope://": [
        ("org/none", {}, "no such data set, or no revision 'master' of it"),
        ("org/gated", {}, "access to this data set is restricted; ask for access"),
        ("org/script", {}, "has no data files"),
    ],
}


@pytest.mark.parametrize("hub", HUBS)
def test_what_a_hub_refuses(
    hub: str, server: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    server.repositories["org/gated"] = server.repositories["org/pairs"]
    server.gated.add("org/gated")
    order = [["pull", f"{hub}{name}", options] for name, options, _ in REFUSED[hub]]
    results, _, _ = run(order, environment, tmp_path)
    for result, (_, _, said) in zip(results, REFUSED[hub], strict=True):
        assert said in result["error"]
    assert not [path for path in (tmp_path / "assay").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("hub", "variable"),
    [
        ("hf://", "HF_ENDPOINT"),
        pytest.param("modelscope://", "MODELSCOPE_ENDPOINT", marks=pytest.mark.slow),
    ],
)
def test_no_network(hub: str, variable: str, tmp_path: Path) -> None:
    environment = pull_environment(tmp_path, **{variable: "http://127.0.0.1:9"})
    (result,), _, _ = run([["pull", f"{hub}org/pairs", {}]], environment, tmp_path)
    assert "could not fetch the data set (" in result["error"]
    assert (
        f"check the network, or set {variable} to a mirror, or copy the data set's directory"
        in (result["error"])
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("org/name", DatasetName("huggingface", "org/name")),
        ("org/name:config", DatasetName("huggingface", "org/name", "config")),
        ("org/data-v0.2", DatasetName("huggingface", "org/data-v0.2")),
        ("hf://org/name", DatasetName("huggingface", "org/name")),
        ("hf://datasets/org/name:c", DatasetName("huggingface", "org/name", "c")),
        ("modelscope://org/name", DatasetName("modelscope", "org/name")),
        ("modelscope:org/name", DatasetName("modelscope", "org/name")),
        ("org/rows.jsonl", None),
        ("org/rows.csv.gz", None),
        ("here/name", None),
        ("a/b/c", None),
        ("/org/name", None),
        ("./name", None),
        ("../name", None),
        ("name", None),
        ("org/*.x", None),
        ("org/name:", None),
        ("-", None),
        ("sample:values", None),
    ],
)
def test_what_is_a_name(
    path: str, name: DatasetName | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert dataset_name(path) == name


def test_what_cannot_be_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}")
    with pytest.raises(PullError, match="is on this machine, there is nothing to pull"):
        pull_dataset("rows.jsonl")
    with pytest.raises(PullError, match=r"'nonsense' is no data set; known forms: org/name or hf:"):
        pull_dataset("nonsense")
    with pytest.raises(PullError, match="something is there already"):
        pull_dataset("org/name", output=tmp_path)
    for path in ("hf://", "hf://name", "modelscope://a/b/c"):
        with pytest.raises(PullError, match=r"is no data set; known forms: org/name"):
            locate(DataSource(path))


def test_damage_in_the_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.fetch.record import write_record

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    place = tmp_path / "datasets" / "huggingface" / "org" / "pairs@main"
    (place / "data").mkdir(parents=True)
    (place / "data" / "train.jsonl").write_text(json.dumps(PAIR))
    write_record(place, source="x", licence="mit")
    assert read_record(place) is not None
    assert len(load_groups([DataSource("org/pairs")]).groups) == 1
    (place / "data" / "train.jsonl").write_text("")
    with pytest.raises(PullError, match=r"damaged: data/train\.jsonl is missing or has another"):
        locate(DataSource("org/pairs"))


def test_files_are_not_taken_for_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no such file; did you mean 'train\.jsonl'"):
        locate(DataSource("data/trian.jsonl"))
    with pytest.raises(DataError, match="no such file"):
        locate(DataSource("data/train"))
