"""The data of a recipe, prepared: every source a store, mixed and split. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assay.config import Recipe, SourceConfig
from assay.data.encoding import EncodedGroup, warn_of_unread_thoughts
from assay.data.mixing import is_held_out, mixed
from assay.data.rendering import Renderer
from assay.data.sources import DataSource, locate_all
from assay.data.store import Account, Preparation, StoredData, check_dropped, prepare_source
from assay.data.store.joining import JoinedData
from assay.data.template_classes import format_by_template
from assay.errors import ConfigError, DataError
from assay.notices import warn
from assay.train.parts import part_of

HELD_OUT = "held-out"
"""The name of the evaluation set that `data.held_out` makes."""


@dataclass
class RecipeData:
    """The stores of a recipe's sources; evaluation sets with their names."""

    train: list[StoredData]
    evals: list[tuple[str, DataSource, StoredData]]

    def stores(self) -> list[tuple[str, StoredData]]:
        """Each store under a name for people."""
        train = [(f"train {_key(data)}", data) for data in self.train]
        return train + [(f"eval {name}", data) for name, _, data in self.evals]

    def table(self) -> list[tuple[str, Account]]:
        """The account of each source under its name."""
        return [(name, data.account) for name, data in self.stores()]


def _key(data: StoredData) -> str:
    path, split = data.account.source["path"], data.account.source["split"]
    return f"{path}:{split}" if split else str(path)


def prepare_recipe(
    recipe: Recipe,
    renderer: Renderer,
    *,
    workers: int | None = None,
    output: Path | None = None,
) -> RecipeData:
    """Prepare all sources of a recipe; those that are in the cache are only opened.

    Args:
        recipe: names the sources and says how they are prepared.
        renderer: how the model will read.
        workers: processes; None takes one for each core.
        output: a directory for the stores (`train-1`, `eval-NAME`); None is the cache directory.

    Raises:
        DataError: a source is not there, holds bad rows, or has no usable row; or more is dropped
            than `data.max_dropped` allows.
        ConfigError: two evaluation sets have one name.
        OutputError: no space, no permission.
    """
    names = _names_of_evals(recipe)
    sources = recipe_sources(recipe)
    places = [f"train-{number}" for number, _ in enumerate(recipe.data.train, start=1)]
    places += [f"eval-{name}" for name in names]
    preparation = Preparation(
        renderer,
        recipe.train.max_length,
        recipe.train.over_length,
        recipe.data.on_bad_row,
        recipe.data.group_by,
    )
    stores = [
        prepare_source(
            source, preparation, workers=workers, output=None if output is None else output / place
        )
        for source, place in zip(sources, places, strict=True)
    ]
    unread = sum(store.account.unread_thoughts for store in stores)
    warn_of_unread_thoughts(unread, renderer.template.name)
    count = len(recipe.data.train)
    evals = list(zip(names, sources[count:], stores[count:], strict=True))
    return RecipeData(stores[:count], evals)


def recipe_sources(recipe: Recipe) -> list[DataSource]:
    """The sources of `data.train` and then of `data.eval`, seen to be there.

    Raises:
        DataError: some are not, so that a typo in the last costs no preparation of the first; or
            a file of `data.train` comes twice.
        ConfigError: two of them are standard input.
    """
    configs = [*recipe.data.train, *recipe.data.eval]
    if sum(config.path == "-" for config in configs) > 1:
        raise ConfigError(
            "standard input is named twice, and can be read once",
            where="data",
            mend="write it to a file first",
        )
    sources = [data_source(config, recipe.model.template) for config in configs]
    count = len(recipe.data.train)
    locate_all(sources[:count], sources[count:])
    return sources


def check_recipe_data(recipe: Recipe, data: RecipeData) -> None:
    """Refuse sources of which nothing is left, or too little.

    Raises:
        DataError: names the source and the reasons.
    """
    for name, account in data.table():
        if not account.comparisons:
            use = "train on" if name.startswith("train") else "evaluate on"
            reasons = ", ".join(f"{n} {why}" for why, n in sorted(account.dropped.items()))
            raise DataError(
                f"nothing is left to {use} of {account.rows} rows ({reasons})",
                where=name,
                mend="raise train.max_length, or look at the rows",
            )
        check_dropped(name, account, recipe.data.max_dropped)
    for name, _, store in data.evals:
        if _only_ties(store.groups):
            raise DataError(
                "every comparison is labelled a tie: nothing to evaluate on",
                where=f"eval {name}",
                mend="name another file in data.eval",
            )


def mix_and_split(recipe: Recipe, data: RecipeData) -> tuple[JoinedData, JoinedData | None]:
    """The groups to train on, and those of them that are held out for evaluation instead.

    The mixture is drawn first: `data.held_out` is a part of what the recipe uses.

    Raises:
        ConfigError: a source has fewer groups than the recipe takes of it, or `data.held_out`
            leaves nothing on one side.
    """
    seed, fraction = recipe.data_seed, recipe.data.held_out
    chosen = mixed([len(store.groups) for store in data.train], recipe.data.train, seed)
    mixture = [
        store.groups if len(numbers) == len(store.groups) else store.groups.take(numbers)
        for store, numbers in zip(data.train, chosen, strict=True)
    ]
    if not fraction:
        return JoinedData(data.train, part_of(mixture, recipe.data.part, seed)), None
    kept, held = [], []
    for groups in mixture:
        hashes = groups.column("prompt_hash")
        out = np.array([is_held_out(bytes(value), seed, fraction) for value in hashes], dtype=bool)
        kept.append(groups.take(np.flatnonzero(~out)))
        held.append(groups.take(np.flatnonzero(out)))
    kept = part_of(kept, recipe.data.part, seed)
    sides = JoinedData(data.train, kept), JoinedData(data.train, held)
    _check_sides(recipe, *sides)
    return sides


def prompts_in_training(train: JoinedData, store: StoredData) -> tuple[int, int]:
    """How many prompts of an evaluation set are trained on, and how many it has.

    Prompts are the same where their normalised texts are.
    """
    prompts = {bytes(value) for value in store.groups.column("prompt_hash")}
    trained = {bytes(value) for value in train.column("prompt_hash")}
    return len(prompts & trained), len(prompts)


def warn_about_overlap(name: str, train: JoinedData, store: StoredData) -> int:
    """Say that an evaluation set shares prompts with training, where it does; gives their number.

    An accuracy on prompts that were trained on says little.
    """
    shared, prompts = prompts_in_training(train, store)
    if shared:
        warn(
            f"{shared} of {prompts} prompts of the evaluation set '{name}' are in the training "
            "data (case, width and white space do not count); `assay audit --test --fix` writes "
            "training rows without them"
        )
    return shared


def _check_sides(recipe: Recipe, train: JoinedData, held: JoinedData) -> None:
    """Both sides have something to say; better now than after the training."""
    what = f"data.held_out {recipe.data.held_out} with seed {recipe.data_seed}"
    if not len(train.groups):
        raise ConfigError(f"{what} holds back every prompt", mend="lower data.held_out")
    if _only_ties(held.groups):
        ties = f"{len(held.groups)} prompts with ties alone" if len(held.groups) else "no prompt"
        raise ConfigError(
            f"{what} holds back {ties}: nothing to evaluate on",
            mend="raise data.held_out, or name a file in data.eval",
        )


def _only_ties(groups: Iterable[EncodedGroup]) -> bool:
    return all(c.outcome == "tie" for group in groups for c in group.comparisons)


def fingerprints(recipe: Recipe, stores: Sequence[StoredData]) -> dict[str, str]:
    """SHA-256 of each training source, by its path and split."""
    keys = [source.key for source in recipe.data.train]
    return dict(zip(keys, [store.account.sha256 for store in stores], strict=True))


def store_fingerprints(data: RecipeData) -> dict[str, str]:
    """Of each store, by its name for people, what decides its content: also tokenizer, template and
    plug-ins."""
    return {name: store.account.fingerprint for name, store in data.stores()}


def data_source(source: SourceConfig, template: str) -> DataSource:
    """A source of a recipe as the readers of rows take it; a template class reads rows, too."""
    return DataSource(
        source.path,
        format=format_by_template(source.format, template),
        split=source.split,
        name=source.name,
        label=source.label,
        revision=source.revision,
        columns=source.columns or None,
    )


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


def evaluation_names(recipe: Recipe) -> list[str]:
    """The names of all evaluation sets, in the order in which they are evaluated.

    Raises:
        ConfigError: two have one name.
    """
    return ([HELD_OUT] if recipe.data.held_out else []) + _names_of_evals(recipe)


def _names_of_evals(recipe: Recipe) -> list[str]:
    names = [source_name(source) for source in recipe.data.eval]
    taken = [HELD_OUT] if recipe.data.held_out else []
    for name in names:
        if name in taken:
            raise ConfigError(
                f"two evaluation sets are named '{name}'",
                where="data.eval",
                mend="give one another name: {path: ..., name: ...}",
            )
        taken.append(name)
    return names
