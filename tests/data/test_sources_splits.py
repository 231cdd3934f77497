"""Which files belong to which split: by the card of a data set, else by names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from assay.data.sources import DataSource
from assay.data.splits import every_split, files_of_split, split_of, splits_in
from assay.errors import DataError


def upload(folder: Path, *files: str, card: str | None = None) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}\n---\n# A data set\n")
    return folder


def found(folder: Path, config: str | None = None) -> dict[str, list[str]]:
    return {
        split: [path.relative_to(folder).as_posix() for path in files]
        for split, files in splits_in(folder, config).items()
    }


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train_prefs-00000-of-00001.parquet", "train_prefs"),
        ("data/test_gen-00000-of-00001-a1b2.parquet", "test_gen"),
        ("train/data-00000-of-00003.arrow", "train"),
        ("train_sft/data-00000-of-00003.arrow", "train_sft"),
        ("test/part-00000-of-00001.parquet", "test"),
        ("my_training.set.json", "train"),
        ("dev.csv", "validation"),
        ("val-1.jsonl.gz", "validation"),
        ("valid/a.jsonl", "validation"),
        ("helpful-base/test.jsonl.gz", "test"),
        ("Evaluation.tsv", "test"),
        ("test2.jsonl", "test"),
        ("trainer.jsonl", None),
        ("contest.jsonl", None),
        ("data-00000-of-00001.parquet", None),
        ("data/data-00000-of-00001.parquet", None),
        ("prefs.jsonl", None),
    ],
)
def test_a_name_says_its_split(path: str, split: str | None) -> None:
    assert split_of(PurePosixPath(path)) == split


def test_files_are_sorted_into_splits(tmp_path: Path) -> None:
    upload(
        tmp_path,
        "test/b.jsonl",
        "data/train-00001-of-00002.parquet",
        "data/train-00000-of-00002.parquet",
        "other.jsonl",
        "dataset_infos.json",
        "script.py",
    )
    assert found(tmp_path) == {
        "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
        "test": ["test/b.jsonl"],
    }


def test_without_any_split_all_files_are_train(tmp_path: Path) -> None:
    assert found(upload(tmp_path, "b.csv", "a.jsonl")) == {"train": ["a.jsonl", "b.csv"]}


CONFIGS = """
license: mit
configs:
- config_name: small
  data_files:
  - {split: train, path: "small/*.jsonl"}
  - {split: hard, path: [small/extra/h1.csv, "small/**/h2.csv"]}
- config_name: large
  default: true
  data_files: "large/**"
- config_name: based
  data_dir: ./small
  data_files: {dev: "*.jsonl"}
"""
FILES = ("small/a.jsonl", "small/extra/h1.csv", "small/extra/h2.csv", "large/1.json", "out.jsonl")


def test_the_card_decides_where_it_says_so(tmp_path: Path) -> None:
    folder = upload(tmp_path, *FILES, card=CONFIGS)
    assert found(folder) == {"train": ["large/1.json"]}
    assert found(folder, "small") == {
        "train": ["small/a.jsonl"],
        "hard": ["small/extra/h1.csv", "small/extra/h2.csv"],
    }
    assert found(folder, "based") == {"dev": ["small/a.jsonl"]}
    with pytest.raises(DataError, match=r"no configuration 'smal'; did you mean 'small'\?"):
        found(folder, "smal")
    assert list(every_split(folder, name="x")) == [
        "small:train",
        "small:hard",
        "large:train",
        "based:dev",
    ]


def test_several_configurations_without_a_default_must_be_named(tmp_path: Path) -> None:
    folder = upload(tmp_path, *FILES, card=CONFIGS.replace("default: true", "x: 1"))
    with pytest.raises(DataError, match=r"small, large, based, and none is named; name one behind"):
        found(folder)


def test_a_folder_is_a_configuration_without_a_card(tmp_path: Path) -> None:
    folder = upload(tmp_path, "helpful/train.jsonl", "harmless/train.jsonl")
    assert found(folder, "helpful") == {"train": ["helpful/train.jsonl"]}
    assert found(folder) == {"train": ["harmless/train.jsonl", "helpful/train.jsonl"]}


def test_a_card_that_means_nothing_stops_nothing(tmp_path: Path) -> None:
    folder = upload(tmp_path, "test.jsonl", card="configs: [{data_files: '*'}]\ndate: 2024-02-30")
    assert found(folder) == {"test": ["test.jsonl"]}
    upload(tmp_path, card="configs: [{data_files: [{split: [a], path: '*'}]}]")
    assert found(folder) == {"['a']": ["test.jsonl"]}


@pytest.mark.parametrize("pattern", ["../*.jsonl", "/etc/*", "missing/*.json"])
def test_a_card_reaches_nothing_outside(tmp_path: Path, pattern: str) -> None:
    upload(tmp_path, "outside.jsonl")
    folder = upload(tmp_path / "set", "in.jsonl", card=f"configs: [{{data_files: '{pattern}'}}]")
    with pytest.raises(DataError, match="holds no data file"):
        found(folder)


@pytest.mark.parametrize("card", ["configs: 3", "[", "configs: [{config_name: x}]", "- a"])
def test_a_card_that_says_nothing_of_files(tmp_path: Path, card: str) -> None:
    assert found(upload(tmp_path, "test.jsonl", card=card)) == {"test": ["test.jsonl"]}


def test_one_of_several_splits_must_be_named(tmp_path: Path) -> None:
    folder = upload(tmp_path, "train.jsonl", "test.jsonl")
    with pytest.raises(DataError, match=r"has the splits train, test, and none is named; name one"):
        files_of_split(folder, DataSource(str(folder)))
    only = upload(tmp_path / "only", "test.jsonl")
    assert files_of_split(only, DataSource("x")) == [only / "test.jsonl"]


SPLITS = """
configs:
- config_name: default
  data_files:
  - {{split: train, path: "{train}"}}
  - {{split: test, path: data/test*.jsonl}}
"""


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("data/train-[0-9]*.jsonl", ["data/train-0.jsonl", "data/train-1.jsonl"]),
        ("data/train-[!0].jsonl", ["data/train-1.jsonl", "data/train-x.jsonl"]),
        ("data/{train-1,train-x}.jsonl", ["data/train-1.jsonl", "data/train-x.jsonl"]),
        ("data/train-{0,{1,x}}.jsonl", [f"data/train-{name}.jsonl" for name in "01x"]),
        ("./{data,more}/train-[1].jsonl", ["data/train-1.jsonl"]),
        ("**/train-?.jsonl", [f"data/train-{name}.jsonl" for name in "01x"]),
    ],
)
def test_patterns_of_a_card(tmp_path: Path, pattern: str, files: list[str]) -> None:
    names = [f"data/train-{name}.jsonl" for name in "01x"]
    folder = upload(tmp_path, *names, "data/test.jsonl", card=SPLITS.format(train=pattern))
    assert found(folder) == {"train": files, "test": ["data/test.jsonl"]}


def test_a_pattern_that_matches_nothing_does_not_make_its_split_vanish(tmp_path: Path) -> None:
    card = SPLITS.format(train="data/train-[z-a].jsonl")
    folder = upload(tmp_path, "data/train-1.jsonl", "data/test.jsonl", card=card)
    for split in (None, "train"):
        with pytest.raises(
            DataError,
            match=r"no data file 'data/train-\[z-a\]\.jsonl', which its README names for the split "
            "'train'; fetch it",
        ):
            files_of_split(folder, DataSource("org/name", split=split))
    source = DataSource("org/name", split="test")
    assert files_of_split(folder, source) == [folder / "data/test.jsonl"]
