"""From what the user named to the files behind it, in order."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from assay.data.nearest import file_you_meant
from assay.data.sources.samples import SAMPLE, sample_parts
from assay.data.sources.source import KINDS_OF_FILE, STDIN, DataSource, Part, part_of, unreadable
from assay.data.splits import card_configs, data_files, files_of_split, is_data_file, splits_in
from assay.errors import DataError, together
from assay.files import check_not_input

_GLOB = frozenset("*?[")
_MENDS = {
    "revision": "leave the revision out; it is for data sets of a hub",
    "split": "leave the split out and name the file of that split",
}


def locate(source: DataSource) -> list[Part]:
    """The parts of a source, in order; nothing is read yet, but a data set may be fetched.

    Raises:
        DataError: the source is not there, is of an unknown kind, or has no such split.
        PullError: a data set cannot be fetched.
    """
    try:
        return _located(source)
    except OSError as error:
        raise unreadable(error, source.path) from None


def locate_all(
    sources: Sequence[DataSource], others: Sequence[DataSource] = ()
) -> list[list[Part]]:
    """The parts of several sources whose rows are put together, and of others beside them.

    Raises:
        DataError: as `locate`, for all of them at once; or a file comes twice among the first,
            under one name or two, and is read in the same way.
        PullError: a data set cannot be fetched.
    """
    located, mistakes = [], []
    for source in [*sources, *others]:
        try:
            located.append(locate(source))
        except DataError as error:
            mistakes.append(error)
    if mistakes:
        raise together(mistakes)
    seen: dict[object, str] = {}
    for source, parts in zip(sources, located, strict=False):
        way = (source.format, source.label, tuple(sorted((source.columns or {}).items())))
        for part in parts:
            file = (part.name if part.path is None else part.path.resolve(), way)
            if file in seen:
                also = "" if seen[file] == part.name else f", also as {seen[file]}"
                raise DataError(
                    f"is given twice{also}", where=part.name, mend="name each file once"
                )
            seen[file] = part.name
    return located


def check_not_read(output: Path, sources: Iterable[DataSource]) -> None:
    """Refuse an output that is a file of some sources, by whatever name it is called.

    Raises:
        DataError: as `locate`, where the output is there already.
        OutputError: it is.
    """
    from assay.data.hub import is_dataset

    if not output.exists():
        return
    for source in sources:
        if source.path == "-":
            check_not_input(output, _file_at_stdin())
        elif not is_dataset(source.path):  # Those lie in the cache; to find them is to fetch them.
            check_not_input(output, (part.path for part in locate(source) if part.path))


def _file_at_stdin() -> Iterator[Path]:
    with suppress(OSError, ValueError, AttributeError):  # It is closed, or no stream of the system.
        yield Path(f"/dev/fd/{sys.stdin.fileno()}")


def _located(source: DataSource) -> list[Part]:
    from assay.data.hub import dataset_parts, is_dataset

    if source.path.startswith(SAMPLE):
        _refuse(source, "a sample", "revision")
        return sample_parts(source)
    if is_dataset(source.path):
        return dataset_parts(source)
    if source.path == "-":
        _refuse(source, "standard input", "revision", "split")
        if sys.stdin is None:
            raise DataError("is closed", where=STDIN, mend="give rows to it, or name a file")
        return [Part(STDIN, lambda: nullcontext(sys.stdin.buffer), compression="detect")]
    path = Path(source.path)
    if path.is_dir():
        _refuse(source, "a directory", "revision")
        return _parts_of_directory(path, source)
    _refuse(source, "a file", "revision", "split")
    if _GLOB & set(source.path) and not path.exists():
        return _parts_of_glob(source.path)
    return [_part_of_file(path, source.path)]


def _refuse(source: DataSource, what: str, *names: str) -> None:
    """See that a source says nothing that sources of its kind do not have."""
    for name in names:
        value = getattr(source, name)
        if value is not None:
            raise DataError(f"{what} has no {name} '{value}'", where=source.path, mend=_MENDS[name])


def _part_of_file(path: Path, name: str) -> Part:
    if not path.exists():
        folder = path.parent
        neighbours = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        raise DataError(
            "no such file",
            where=name,
            mend=file_you_meant(path.name, neighbours) + "check the path",
        )
    return part_of(path, name)


def _parts_of_directory(folder: Path, source: DataSource) -> list[Part]:
    files = data_files(folder)
    if not files:
        raise _no_data(source.path, (path for path in folder.rglob("*") if path.is_file()))
    if source.split is not None or card_configs(folder):
        files = files_of_split(folder, source)
    else:
        _check_one_split(files, splits_in(folder, name=source.path), source)
    return [part_of(file, str(file)) for file in files]


def _check_one_split(
    files: Sequence[Path], splits: Mapping[str, Sequence[Path]], source: DataSource
) -> None:
    """A directory is all its files, unless their names say that some are for testing."""
    split, *others = splits
    if others or (split != "train" and len(splits[split]) < len(files)):
        named = f"splits {', '.join(splits)}" if others else f"split {split} and others of none"
        raise DataError(
            f"holds files of the {named}",
            where=source.path,
            mend=f"name one, as in split: {split}, or name the files",
        )


def _parts_of_glob(pattern: str) -> list[Part]:
    # Path.glob takes no absolute pattern.
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    files = [path for path in map(Path, found) if path.is_file()]
    if not files:
        what = "matches only directories" if found else "matches no file"
        raise DataError(
            what, where=pattern, mend="check the pattern and the directory that it starts from"
        )
    known = [path for path in files if is_data_file(path)]
    if not known:
        raise _no_data(pattern, files)
    return [part_of(file, str(file)) for file in known]


def _no_data(name: str, seen: Iterable[Path]) -> DataError:
    others = sorted(path.name for path in seen)
    listed = f", only {', '.join(others[:5])}" if others else ""
    more = ", ..." if len(others) > 5 else ""
    return DataError(f"holds no data file{listed}{more}", where=name, mend=f"give {KINDS_OF_FILE}")
