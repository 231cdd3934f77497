"""From a recipe's files to encoded groups, with the table of what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.config import Recipe, SourceConfig
from assay.data.encoding import EncodedData, encode_groups
from assay.data.loading import BAD_ROW, LoadedData, load_groups, write_bad_rows
from assay.data.records import prompt_key
from assay.data.rows import BadRow
from assay.data.sources import DataSource
from assay.errors import CheckpointError, ConfigError, DataError
from assay.evaluate.evaluator import about_input
from assay.model.reward_model import RewardModel
from assay.notices import notice, warn
from assay.train.checkpoint import newest_checkpoint, step_of


@dataclass
class RecipeRows:
    """The groups of a recipe's files, not yet rendered; evaluation sets by their name."""

    train: LoadedData
    evals: dict[str, tuple[DataSource, LoadedData]]


@dataclass
class PreparedData:
    """Training and evaluation groups, encoded.

    `counts` goes into run.json, `about` (by evaluation set) into results.json, `bad_rows` into
    files of the names that are its keys.
    """

    train: EncodedData
    evals: list[tuple[str, EncodedData]]
    counts: dict[str, Any]
    about: dict[str, dict[str, Any]]
    bad_rows: dict[str, list[BadRow]]


def read_recipe_rows(recipe: Recipe) -> RecipeRows:
    """Read all files of a recipe; needs no model, so that a typo costs no loading of one.

    Raises:
        DataError: a file is not there, or holds bad rows.
        ConfigError: two evaluation sets have one name.
    """
    evals: dict[str, tuple[DataSource, LoadedData]] = {}
    for source in recipe.data.eval:
        name = source_name(source)
        if name in evals:
            raise ConfigError(
                f"two evaluation sets are named '{name}'",
                where="data.eval",
                mend="give one another name: {path: ..., name: ...}",
            )
        evals[name] = (_source(source), _load(recipe, [source]))
    return RecipeRows(_load(recipe, recipe.data.train), evals)


def prepare_data(recipe: Recipe, model: RewardModel, rows: RecipeRows) -> PreparedData:
    """Render and tokenise; writes nothing.

    Raises:
        DataError: the template refuses rows, or nothing is left to train or evaluate on.
        ConfigError: max_length is beyond the model.
    """
    limit = recipe.train.max_length
    if limit > model.max_length:
        raise ConfigError(
            f"train.max_length ({limit}) is beyond the model's context of {model.max_length}",
            mend=f"set it to at most {model.max_length}",
        )
    train = _encode(recipe, model, rows.train, "train on")
    data = PreparedData(
        train,
        evals=[],
        counts={"train": _account(rows.train, train), "eval": {}},
        about={},
        bad_rows={"bad_rows.jsonl": [*rows.train.bad_rows, *train.bad_rows]},
    )
    for name, (source, loaded) in rows.evals.items():
        encoded = _encode(recipe, model, loaded, f"evaluate on in {name}")
        _warn_about_overlap(name, rows.train, loaded)
        data.counts["eval"][name] = _account(loaded, encoded)
        data.about[name] = about_input(source, loaded, encoded)
        data.bad_rows[f"bad_rows.{name}.jsonl"] = [*loaded.bad_rows, *encoded.bad_rows]
        encoded.skipped = [*loaded.skipped, *encoded.skipped]
        data.evals.append((name, encoded))
    model.metadata = replace(model.metadata, data=fingerprints(recipe, rows.train))
    _say_what_was_found(train, model)
    return data


def fingerprints(recipe: Recipe, loaded: LoadedData) -> dict[str, str]:
    """SHA-256 of each training source, by its path and split."""
    return dict(zip([source.key for source in recipe.data.train], loaded.fingerprints, strict=True))


def write_aside(data: PreparedData, run: Path) -> None:
    """Write the bad rows that the recipe says to skip into the run directory.

    Raises:
        OutputError: they cannot be written.
    """
    for name, rows in data.bad_rows.items():
        if rows:
            write_bad_rows(run / name, rows)
            warn(f"{len(rows)} bad rows were written to {run / name}")


def source_name(source: SourceConfig) -> str:
    """The name of a source in logs and directories: its own, else the file's stem."""
    if source.name:
        if "/" in source.name or source.name in (".", ".."):
            raise ConfigError(
                f"'{source.name}' cannot be the name of an evaluation directory",
                where="data.eval",
                mend="choose a name without /",
            )
        return source.name
    stem = source.path.removeprefix("sample:").rsplit("/", 1)[-1].split(".")[0] or "data"
    return f"{stem}-{source.split}" if source.split else stem


def checkpoint_to_resume(recipe: Recipe, resume: str | None) -> Path | None:
    """The checkpoint that `--resume` names; None to start at the beginning.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    if resume is None:
        return None
    if resume == "auto":
        found = newest_checkpoint(Path(recipe.output_dir) / "checkpoints")
        if found is None:
            notice("no checkpoint to resume from: starting at step 0")
        return found
    path = Path(resume)
    if not (path / "trainer.json").exists():
        raise CheckpointError(
            "is not a checkpoint", where=resume, mend="name a checkpoints/step-N directory, or auto"
        )
    if path.resolve().parent == (Path(recipe.output_dir) / "checkpoints").resolve():
        newest = newest_checkpoint(path.parent)
        if newest is not None and step_of(newest) > step_of(path.resolve()):
            raise CheckpointError(
                f"the run has a newer checkpoint, {newest.name}, which going back would contradict",
                where=resume,
                mend="resume auto, or delete the newer checkpoints first",
            )
    return path


def _source(source: SourceConfig) -> DataSource:
    return DataSource(source.path, source.format, source.split, source.name, source.label)


def _load(recipe: Recipe, sources: list[SourceConfig]) -> LoadedData:
    return load_groups(
        [_source(source) for source in sources],
        on_bad_row=recipe.data.on_bad_row,
        group_by=recipe.data.group_by,
    )


def _encode(recipe: Recipe, model: RewardModel, loaded: LoadedData, use: str) -> EncodedData:
    encoded = encode_groups(
        loaded.groups,
        model.renderer,
        max_length=recipe.train.max_length,
        over_length=recipe.train.over_length,
        on_bad_row=recipe.data.on_bad_row,
    )
    if not encoded.num_comparisons:
        raise DataError(
            f"nothing is left to {use} ({_table(loaded, encoded)})",
            mend="raise train.max_length, or look at the rows",
        )
    if _dropped(loaded, encoded):
        notice(_table(loaded, encoded))
    return encoded


def _dropped(loaded: LoadedData, encoded: EncodedData) -> Counter[str]:
    reasons = Counter(row.reason for row in [*loaded.skipped, *encoded.skipped])
    if loaded.bad_rows or encoded.bad_rows:
        reasons[BAD_ROW] = len(loaded.bad_rows) + len(encoded.bad_rows)
    return reasons


def _table(loaded: LoadedData, encoded: EncodedData) -> str:
    parts = [f"{count} {reason}" for reason, count in sorted(_dropped(loaded, encoded).items())]
    return (
        f"{loaded.num_rows} rows, {encoded.num_comparisons} comparisons kept, "
        f"dropped: {', '.join(parts) or 'none'}"
    )


def _account(loaded: LoadedData, encoded: EncodedData) -> dict[str, Any]:
    return {
        "sha256": loaded.fingerprints,
        "formats": loaded.formats,
        "rows": loaded.num_rows,
        "groups": len(encoded.groups),
        "comparisons": encoded.num_comparisons,
        "tokens": sum(group.num_tokens for group in encoded.groups),
        "specials_in_content": encoded.specials_in_content,
        "dropped": dict(_dropped(loaded, encoded)),
        "dropped_rows": [
            {"row": str(row.source), "reason": row.reason}
            for row in [*loaded.skipped, *encoded.skipped]
        ],
    }


def _warn_about_overlap(name: str, train: LoadedData, test: LoadedData) -> None:
    """An accuracy on prompts that were trained on says little."""
    seen = {prompt_key(group.prompt, group.tools) for group in train.groups}
    prompts = {prompt_key(group.prompt, group.tools) for group in test.groups}
    if seen & prompts:
        warn(f"{len(seen & prompts)} of {len(prompts)} prompts of {name} are in the training data")


def _say_what_was_found(train: EncodedData, model: RewardModel) -> None:
    if train.specials_in_content:
        notice(
            f"{train.specials_in_content} special tokens are written out inside messages; "
            f"read as: {model.renderer.special_tokens}"
        )
    tokenizer = model.renderer.tokenizer
    if len(train.last_tokens) > 1 and tokenizer.eos_token_id in train.last_tokens:
        common = ", ".join(
            f"{tokenizer.convert_ids_to_tokens(token)!r} {count}"
            for token, count in train.last_tokens.most_common(3)
        )
        warn(f"texts do not all end with the same token: {common}")
