"""Data sets of the Hugging Face hub and of ModelScope, as files in the cache.

Only data files and the README are fetched. A data set stays as it was fetched: a branch that has
moved on since is not looked at again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.cache import cache_dir
from assay.data.sources.source import KINDS_OF_FILE, DataSource, Part, kind_of_name, part_of
from assay.data.splits import data_files, every_split, files_of_split, splits_in
from assay.errors import PullError
from assay.fetch.naming import MODELSCOPE_PREFIX, checked_revision, folder_name, is_repository
from assay.fetch.placing import build_once, check_free, copy_directory, link_or_copy
from assay.fetch.record import card_licence, read_record, write_record
from assay.notices import notice

Hub = Literal["huggingface", "modelscope"]

_PREFIXES: tuple[tuple[str, Hub], ...] = (
    ("hf://datasets/", "huggingface"),
    ("hf://", "huggingface"),
    (f"{MODELSCOPE_PREFIX}//", "modelscope"),
    (MODELSCOPE_PREFIX, "modelscope"),
)
_DEFAULT_REVISION: dict[Hub, str] = {"huggingface": "main", "modelscope": "master"}
_SUFFIXES = ("jsonl", "ndjson", "json", "csv", "tsv")
_PATTERNS = [
    "README.md",
    "LICENSE*",
    "*.parquet",
    "*.arrow",
    *(f"*.{suffix}{packed}" for suffix in _SUFFIXES for packed in ("", ".gz", ".zst")),
]


@dataclass(frozen=True, slots=True)
class DatasetName:
    """A data set of a hub as the user named it: `org/name`, and a configuration of it."""

    hub: Hub
    repository: str
    config: str | None = None


@dataclass(frozen=True, slots=True)
class PulledDataset:
    """A data set on this machine.

    Attributes:
        path: its directory.
        splits: the files of each split; those of several configurations are named CONFIG:SPLIT.
        unassigned: data files of no split, by their path in the directory.
        licence: from the card, or `unknown`.
        source: where it came from, with its commit where the hub tells one.
    """

    path: Path
    splits: dict[str, list[Path]]
    unassigned: list[str]
    licence: str
    source: str


def dataset_name(path: str) -> DatasetName | None:
    """The data set that a path names, or None where it names something else.

    A plain `org/name` is a data set where neither it nor the folder `org` is here, and the name
    has no suffix of a data file.
    """
    for prefix, hub in _PREFIXES:
        if path.startswith(prefix):
            return _split_name(hub, path.removeprefix(prefix))
    name = _split_name("huggingface", path)
    if name is None or Path(path).exists() or Path(path).parent.exists():
        return None
    looks_like_file = "." in name.repository and kind_of_name(name.repository) is not None
    return None if looks_like_file else name


def is_dataset(path: str) -> bool:
    """Whether a path can only mean a data set, though perhaps a misspelt one."""
    named = any(path.startswith(prefix) for prefix, _ in _PREFIXES)
    return named or dataset_name(path) is not None


def is_cached(path: str, revision: str | None = None) -> bool:
    """Whether the data set that a path names was fetched before.

    Raises:
        PullError: the path or the revision means nothing, or what was fetched is damaged.
    """
    name = _known_name(path)
    revision = checked_revision(revision or _DEFAULT_REVISION[name.hub], path)
    return read_record(_place(name, revision)) is not None


def dataset_parts(source: DataSource) -> list[Part]:
    """The parts of the split that a source names, from the cache; fetched where they are not there.

    Raises:
        PullError: the data set cannot be fetched.
        DataError: it has no such split or configuration, or none of several is named.
    """
    name = _known_name(source.path)
    directory = _in_cache(name, source.path, source.revision)
    base = source.path.removesuffix(f":{name.config}") if name.config else source.path
    return [
        part_of(file, f"{base}/{file.relative_to(directory).as_posix()}")
        for file in files_of_split(directory, source, name.config)
    ]


def pull_dataset(
    name: str, *, revision: str | None = None, output: Path | str | None = None
) -> PulledDataset:
    """Fetch a data set into the cache, or find it there.

    Args:
        name: `org/name`, `hf://org/name` or `modelscope://org/name`, each also with `:CONFIG`.
        revision: a branch, tag or commit.
        output: also copy the directory there; it must not exist or be empty.

    Raises:
        PullError: the name means nothing, or the data set cannot be fetched or written.
        DataError: it has no such configuration.
    """
    known = _known_name(name)
    target = None if output is None else check_free(Path(output).expanduser())
    place = _in_cache(known, name, revision, say=False)
    record = read_record(place)
    assert record is not None, "a fetched data set has a record"
    if target is not None:
        copy_directory(place, target)
        place = target
    if known.config is None:
        splits = every_split(place, name=name)
    else:
        splits = splits_in(place, known.config, name=name)
    assigned = {file for files in splits.values() for file in files}
    unassigned = [
        file.relative_to(place).as_posix() for file in data_files(place) if file not in assigned
    ]
    return PulledDataset(place, splits, unassigned, record.licence, record.source)


def _split_name(hub: Hub, text: str) -> DatasetName | None:
    repository, colon, config = text.partition(":")
    if not is_repository(repository) or (colon and (not config or "/" in config)):
        return None
    return DatasetName(hub, repository, config or None)


def _known_name(path: str) -> DatasetName:
    name = dataset_name(path)
    if name is not None:
        return name
    if Path(path).exists():
        raise PullError(
            "is on this machine, there is nothing to pull",
            where=path,
            mend="give the path itself where data is asked for",
        )
    plain = _split_name("huggingface", path)
    if plain is not None:
        # The folder `org` is here by chance; `pull` can only mean the hub.
        return plain
    raise PullError(
        f"{path!r} is no data set",
        mend="known forms: org/name or hf://org/name (Hugging Face hub), modelscope://org/name, "
        "each also with :CONFIG",
    )


def _place(name: DatasetName, revision: str) -> Path:
    return cache_dir() / "datasets" / name.hub / folder_name(name.repository, revision)


def _in_cache(name: DatasetName, given: str, revision: str | None, *, say: bool = True) -> Path:
    revision = checked_revision(revision or _DEFAULT_REVISION[name.hub], given)
    place = _place(name, revision)
    if read_record(place) is not None:
        return place
    if say:
        notice(f"{given} is not in the cache: fetching it, once")

    def build(directory: Path, scratch: Path) -> None:
        try:
            _fetch(name, revision, directory)
        except PullError as error:
            if not say or given.startswith(("hf:", "modelscope:")):
                raise
            raise PullError(
                f"{error.what} (nor is there a file or directory '{given}' here)",
                where=error.where,
                mend=error.mend,
            ) from None

    build_once(place, build)
    return place


def _fetch(name: DatasetName, revision: str, directory: Path) -> None:
    from assay.fetch.hub_clients import Wanted, download_huggingface, download_modelscope

    download = download_huggingface if name.hub == "huggingface" else download_modelscope
    snapshot = download(Wanted("dataset", name.repository, revision), _PATTERNS, [])
    files = data_files(snapshot.path) if snapshot.path.is_dir() else []
    if not files:
        raise PullError(
            "this data set has no data files (a script that makes them is never run)",
            where=snapshot.source,
            mend=f"pull one that holds {KINDS_OF_FILE}",
        )
    for path in [*snapshot.path.glob("README.md"), *snapshot.path.glob("LICENSE*")]:
        shutil.copyfile(path, directory / path.name)
    for path in files:
        target = directory / path.relative_to(snapshot.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, target)
    write_record(directory, source=snapshot.source, licence=card_licence(directory))
