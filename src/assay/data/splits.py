"""Which files of a directory are data, and which split each belongs to.

A data set's own README says it in its YAML header (`configs:`); otherwise the names of files and
folders do, by the rules that Hugging Face data sets follow. No code of a data set is ever run.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from assay.data.nearest import did_you_mean
from assay.data.sources.source import KINDS_OF_FILE, DataSource, kind_of_name
from assay.errors import DataError
from assay.fetch.record import card_fields

_ABOUT = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
    | {"dataset_info.jsonl", "assay_pull.json", "assay_pull_dataset.json", "dataset_info.yaml"}
)
"""Files of a known suffix that tell about a data set and hold no rows of it."""

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SHARD = re.compile(r"(?P<split>\w[\w.]*?)-\d{5}-of-\d{5}", re.ASCII)
_NO_SPLITS = frozenset({"data", "part"})
"""What writers call the shards of a split whose name is the folder's."""


def card_configs(directory: Path) -> list[Mapping[str, Any]]:
    """The configurations of a README that say which files they hold, in order."""
    listed = card_fields(directory).get("configs")
    entries = listed if isinstance(listed, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and "data_files" in entry]


def is_data_file(path: Path) -> bool:
    """Whether a file has the suffix of a data file and not the name of one about data."""
    known = path.suffix and kind_of_name(path.name) is not None
    return bool(known) and path.name not in _ABOUT and path.is_file()


def data_files(directory: Path) -> list[Path]:
    """The data files in a directory and its subfolders, sorted by name.

    Hidden files, files of unknown suffix, and those that only tell about a data set are left out.
    """
    found = []
    for path in directory.rglob("*"):
        inner = path.relative_to(directory)
        hidden = any(part.startswith((".", "_")) for part in inner.parts)
        if not hidden and is_data_file(path):
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(directory).parts)


def splits_in(
    directory: Path, config: str | None = None, *, name: str = ""
) -> dict[str, list[Path]]:
    """The splits of a directory and their files, in order.

    Args:
        directory: a data set, or any directory.
        config: a configuration of the README, or a folder of the directory.
        name: how errors call the directory.

    Raises:
        DataError: the directory has no data files, or no such configuration, or several and none
            is named.
    """
    return _splits_and_gaps(directory, config, name or str(directory))[0]


def _splits_and_gaps(
    directory: Path, config: str | None, where: str
) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """The splits, and by split the first pattern of the README that matches no data file."""
    configs = card_configs(directory)
    gaps: dict[str, str] = {}
    if configs:
        splits, gaps = _splits_of_config(_chosen_config(configs, config, where), directory)
    elif config is not None:
        folders = sorted(path.name for path in directory.iterdir() if path.is_dir())
        if config not in folders:
            raise _unknown("configuration", config, folders, where)
        splits = _splits_by_name(directory / config)
    else:
        splits = _splits_by_name(directory)
    splits = {split: files for split, files in splits.items() if files}
    if not splits and gaps:
        raise _nothing_there(*next(iter(gaps.items())), where)
    if not splits:
        raise DataError("holds no data file", where=where, mend=f"give {KINDS_OF_FILE}")
    return splits, gaps


def _nothing_there(split: str, pattern: str, where: str) -> DataError:
    return DataError(
        f"holds no data file '{pattern}', which its README names for the split '{split}'",
        where=where,
        mend="fetch it, mend the README, or name another split",
    )


def every_split(directory: Path, *, name: str) -> dict[str, list[Path]]:
    """The splits of all configurations; where there are several, they are named CONFIG:SPLIT.

    Raises:
        DataError: the directory has no data files.
    """
    configs = card_configs(directory)
    if len(configs) < 2:
        return splits_in(directory, name=name)
    return {
        f"{entry.get('config_name', 'default')}:{split}": files
        for entry in configs
        for split, files in _splits_of_config(entry, directory)[0].items()
        if files
    }


def files_of_split(directory: Path, source: DataSource, config: str | None = None) -> list[Path]:
    """The files of the split that a source names; without a name, of the only one.

    Raises:
        DataError: as `splits_in`; there is no such split; or there are several and none is named;
            or the README names files for it that are not there.
    """
    splits, gaps = _splits_and_gaps(directory, config, source.path)
    for split, pattern in gaps.items():
        if source.split in (None, split):
            raise _nothing_there(split, pattern, source.path)
    if source.split is None:
        if len(splits) > 1:
            raise DataError(
                f"has the splits {', '.join(splits)}, and none is named",
                where=source.path,
                mend=f"name one, as in split: {next(iter(splits))}",
            )
        return next(iter(splits.values()))
    if source.split not in splits:
        raise _unknown("split", source.split, splits, source.path)
    return splits[source.split]


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> DataError:
    names = list(known)
    return DataError(
        f"has no {kind} '{name}'",
        where=where,
        mend=f"{did_you_mean(name, names)}known: {', '.join(names) or 'none'}",
    )


def _chosen_config(
    configs: list[Mapping[str, Any]], config: str | None, where: str
) -> Mapping[str, Any]:
    named = {str(entry.get("config_name", "default")): entry for entry in configs}
    if config is not None:
        if config not in named:
            raise _unknown("configuration", config, named, where)
        return named[config]
    marked = [entry for entry in configs if entry.get("default") is True]
    if marked or "default" in named or len(named) == 1:
        return marked[0] if marked else named.get("default", configs[0])
    first = next(iter(named))
    raise DataError(
        f"has the configurations {', '.join(named)}, and none is named",
        where=where,
        mend=f"name one behind a colon, as in {where}:{first}; of a directory, name its files",
    )


def _splits_of_config(
    entry: Mapping[str, Any], directory: Path
) -> tuple[dict[str, list[Path]], dict[str, str]]:
    files = data_files(directory)
    splits: dict[str, dict[Path, None]] = {}
    gaps: dict[str, str] = {}
    for split, pattern in _patterns(entry):
        found = _matches(directory, pattern, files)
        splits.setdefault(split, {}).update(dict.fromkeys(found))
        if not found:
            gaps.setdefault(split, pattern)
    return {split: list(found) for split, found in splits.items()}, gaps


def _patterns(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The patterns of a configuration, each with its split."""
    base = str(entry.get("data_dir") or "").strip("/")
    data = entry["data_files"]
    for item in data if isinstance(data, list) else [data]:
        if isinstance(item, Mapping) and "path" in item:
            named: Mapping[Any, Any] = {str(item.get("split", "train")): item["path"]}
        else:  # {train: ..., test: ...}, or patterns of the only split
            named = item if isinstance(item, Mapping) else {"train": item}
        for split, patterns in named.items():
            for pattern in patterns if isinstance(patterns, list) else [patterns]:
                yield str(split), f"{base}/{pattern}" if base else str(pattern)


def _matches(directory: Path, pattern: str, files: list[Path]) -> list[Path]:
    """Those of the files of a directory that match a pattern of its README."""
    found = {
        directory / path
        for one in _without_braces(pattern)
        # Path.glob takes neither absolute patterns nor `**` beside other characters.
        for path in glob.glob(one, root_dir=directory, recursive=True)  # noqa: PTH207
    }
    return [path for path in files if path in found]


def _without_braces(pattern: str) -> list[str]:
    """`{a,b}.csv` as `a.csv` and `b.csv`."""
    braces = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, behind = pattern[: braces.start()], pattern[braces.end() :]
    return [
        whole
        for inner in braces[1].split(",")
        for whole in _without_braces(before + inner + behind)
    ]


def _splits_by_name(directory: Path) -> dict[str, list[Path]]:
    """Splits by the names of files, else of folders; a directory without any is one `train`."""
    files = data_files(directory)
    splits: dict[str, list[Path]] = {}
    for path in files:
        split = split_of(PurePosixPath(path.relative_to(directory).as_posix()))
        if split is not None:
            splits.setdefault(split, []).append(path)
    if not splits:
        return {"train": files}
    order = list(_WORDS)
    return dict(
        sorted(
            splits.items(),
            key=lambda item: order.index(item[0]) if item[0] in order else len(order),
        )
    )


def split_of(path: PurePosixPath) -> str | None:
    """The split that the name of a file, or else of a folder above it, says."""
    shard = _SHARD.match(path.name)
    if shard:
        said = path.parent.name if shard["split"] in _NO_SPLITS else shard["split"]
        if said and said not in _NO_SPLITS:
            return _known_split(said) or said
    stem = path.name.split(".", 1)[0]
    for text in (stem, *reversed(path.parent.parts)):
        for word in re.split(r"[^A-Za-z0-9]+|(?<=[A-Za-z])(?=[0-9])", text.lower()):
            split = _known_split(word)
            if split is not None:
                return split
    return None


def _known_split(word: str) -> str | None:
    return next((split for split, words in _WORDS.items() if word in words), None)
