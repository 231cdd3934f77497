"""Folds of rows, so that no comparison is judged by a model that has seen it.

`assay export folds` writes of each fold the rows that are held out and those of all others, to
train on. A prompt stands in one fold, whoever repeats it. What was done is kept in `folds.json`, by
which scored files and their models are recognised later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from assay.data.formats import VerbatimText
from assay.data.prompts import normalised_prompt_hash
from assay.data.rows import BadRow
from assay.data.scorable import SourceReader
from assay.data.sources import DataSource
from assay.data.strict_json import JsonObject
from assay.errors import AssayError, ConfigError, DataError, OutputError
from assay.model.locate import locate_model
from assay.model.manifest import file_sha256, whole_directory
from assay.model.metadata import Metadata

RECORD = "folds.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Fold:
    """The two files of a fold, and SHA-256 of each."""

    held: str
    train: str
    rows: int
    held_sha256: str
    train_sha256: str


def write_folds(source: DataSource, directory: Path, count: int, *, seed: int = 0) -> list[Fold]:
    """Deal the rows of a source to folds by their prompts, and print what there is to do with them.

    The number of prompts of two folds differs by one at most.

    Args:
        source: rows with comparisons.
        directory: is made; it must not be there.
        count: folds, at least 2.
        seed: another one deals otherwise.

    Raises:
        DataError: a row cannot be read, or there are fewer prompts than folds.
        OutputError: there is something already, or it cannot be written.
    """
    if directory.exists():
        raise OutputError("is there already", where=directory, mend="name another directory")
    if source.path == "-":
        raise ConfigError(
            "standard input cannot be read twice", where="--input", mend="give a file"
        )
    prompts = {key for key, _ in _rows(source)}
    if len(prompts) < count:
        raise DataError(
            f"has {len(prompts)} prompts, too few for {count} folds",
            where=source.path,
            mend="ask for fewer --folds",
        )
    drawn = sorted(prompts, key=lambda key: hashlib.blake2b(key, key=str(seed).encode()).digest())
    fold_of = {key: place % count for place, key in enumerate(drawn)}
    with whole_directory(directory) as place:
        rows = _deal(source, place, fold_of, count)
        folds = [_fold(place, number, held) for number, held in enumerate(rows, 1)]
        record = {"version": VERSION, "seed": seed, "source": source.path}
        text = json.dumps(record | {"folds": [asdict(fold) for fold in folds]}, indent=1)
        (place / RECORD).write_text(text + "\n", encoding="utf-8")
    return folds


def check_held_out(directory: Path, scored: Sequence[Path]) -> None:
    """See that each scored file is a fold's, and that its model was trained on the other folds.

    Raises:
        DataError: one is not, or a fold is missing.
    """
    by_held = {fold.held_sha256: fold for fold in _read(directory)}
    seen: dict[str, Path] = {}
    for file in scored:
        digest, models = _looked_at(file)
        fold = by_held.get(digest)
        if fold is None:
            raise DataError(
                "does not hold the rows of one fold, all of them and as they are",
                where=file,
                mend=f"score a held file of {directory} whole",
            )
        if fold.held in seen:
            raise DataError(f"is {fold.held} again, as {seen[fold.held]} is", where=file, mend=_ALL)
        seen[fold.held] = file
        _check_model(models, fold, file)
    missing = [fold.held for fold in by_held.values() if fold.held not in seen]
    if missing:
        raise DataError(f"scores are missing: {', '.join(missing)}", where=directory, mend=_ALL)


_ALL = "give the scored file of each fold once: --scores ... --scores ..."


def _rows(source: DataSource) -> Iterator[tuple[bytes, JsonObject]]:
    """Of each row the hash of its prompt, and its fields."""
    for row in SourceReader(source, need_comparisons=True):
        if isinstance(row, BadRow):
            raise DataError(row.what, where=row.source, mend=row.mend)
        place, fields, item = row
        if isinstance(item, VerbatimText):
            raise DataError(
                "is a text without an answer to compare", where=place, mend="leave it out"
            )
        yield normalised_prompt_hash(item.prompt), fields


def _deal(source: DataSource, place: Path, fold_of: dict[bytes, int], count: int) -> list[int]:
    """Write all files; rows of each held one."""
    rows = [0] * count
    with ExitStack() as stack:

        def opened(path: Path) -> IO[str]:
            return stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))

        numbers = range(1, count + 1)
        files = [(opened(_held(place, one)), opened(_train(place, one))) for one in numbers]
        for key, fields in _rows(source):
            line = _line(fields)
            for number, (held, train) in enumerate(files):
                (held if number == fold_of[key] else train).write(line)
            rows[fold_of[key]] += 1
    return rows


def _fold(place: Path, number: int, rows: int) -> Fold:
    held, train = _held(place, number), _train(place, number)
    return Fold(held.name, train.name, rows, file_sha256(held), file_sha256(train))


def _held(place: Path, number: int) -> Path:
    return place / f"fold-{number}.held.jsonl"


def _train(place: Path, number: int) -> Path:
    return place / f"fold-{number}.train.jsonl"


def _line(fields: JsonObject) -> str:
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _read(directory: Path) -> list[Fold]:
    try:
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        if record["version"] != VERSION:
            raise ValueError(f"version {record['version']}")
        return [Fold(**fold) for fold in record["folds"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"holds no folds ({error})", where=directory, mend="make them: assay export folds"
        ) from None


def _looked_at(file: Path) -> tuple[str, set[str]]:
    """SHA-256 of a scored file's rows as they were before, and the models that it names."""
    digest = hashlib.sha256()
    models: set[str] = set()
    try:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                fields: dict[str, Any] = json.loads(line)
                scored = fields.pop("assay")
                models.add(str(scored["model"]))
                digest.update(_line(fields).encode())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            "is not a file of JSON lines that `assay score` wrote",
            where=file,
            mend="score it again",
        ) from None
    return digest.hexdigest(), models


def _check_model(models: set[str], fold: Fold, file: Path) -> None:
    """See that the model that scored a fold was trained on the others and nothing else."""
    name = ", ".join(sorted(models))
    try:
        metadata = Metadata.read(locate_model(name).path)
    except AssayError as error:
        raise DataError(
            f"nobody can see what its model '{name}' was trained on ({error.what})",
            where=file,
            mend="run this where the model is found by that name",
        ) from None
    trained = set() if metadata is None else set(metadata.data.values())
    if trained != {fold.train_sha256}:
        raise DataError(
            f"its model '{name}' was not trained on {fold.train} alone",
            where=file,
            mend=f"score {fold.held} with a model that was",
        )
