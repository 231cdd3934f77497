"""From a recipe's stores to what a run trains and evaluates on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from assay.config import Recipe
from assay.data.encoding import EncodedData
from assay.data.loading import write_bad_rows
from assay.data.rows import BadRow
from assay.data.sources import DataSource
from assay.data.store import StoredData
from assay.data.store.joining import Joined
from assay.data.templates import own_system_text
from assay.errors import ConfigError
from assay.model.reward_model import RewardModel
from assay.notices import notice, warn
from assay.train.recipe_data import (
    HELD_OUT,
    RecipeData,
    fingerprints,
    mix_and_split,
    warn_about_overlap,
)

_LISTED = 10_000
"""Dropped rows that run.json lists; the stores list them all."""


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
    bad_rows: dict[str, Sequence[BadRow]]


def check_length(recipe: Recipe, model: RewardModel) -> None:
    """Refuse texts for which the model has no positions.

    Raises:
        ConfigError: max_length is beyond the model.
    """
    limit = recipe.train.max_length
    if limit > model.max_length:
        raise ConfigError(
            f"train.max_length ({limit}) is beyond the model's context of {model.max_length}",
            mend=f"set it to at most {model.max_length}",
        )


def prepare_data(recipe: Recipe, model: RewardModel, stores: RecipeData) -> PreparedData:
    """Mix, split and describe what was prepared; writes nothing.

    Raises:
        ConfigError: max_length is beyond the model, or a source has fewer groups than are taken.
    """
    check_length(recipe, model)
    train, held_out = mix_and_split(recipe, stores)
    data = PreparedData(
        train,
        evals=[],
        counts={"train": _account(stores.train, train), "eval": {}},
        about={},
        bad_rows={"bad_rows.jsonl": train.bad_rows},
    )
    if held_out is not None:
        data.evals.append((HELD_OUT, EncodedData(held_out.groups)))
        data.about[HELD_OUT] = {
            "input": [source.key for source in recipe.data.train],
            "input_sha256": [store.account.sha256 for store in stores.train],
            "held_out": recipe.data.held_out,
            "rows": held_out.num_comparisons,
            "bad_rows": 0,
        }
        data.counts["eval"][HELD_OUT] = _numbers(held_out)
    for name, source, store in stores.evals:
        data.counts["eval"][name] = _account([store], store) | {
            "prompts_in_training": warn_about_overlap(name, train, store)
        }
        data.about[name] = _about(source, store)
        data.bad_rows[f"bad_rows.{name}.jsonl"] = store.bad_rows
        data.evals.append((name, store))
    model.metadata = replace(model.metadata, data=fingerprints(recipe, stores.train))
    _say_what_was_found(train, model)
    return data


def write_aside(data: PreparedData, run: Path) -> None:
    """Write the bad rows that the recipe says to skip into the run directory.

    Raises:
        OutputError: they cannot be written.
    """
    for name, rows in data.bad_rows.items():
        if rows:
            write_bad_rows(run / name, rows)
            warn(f"{len(rows)} bad rows were written to {run / name}")


def _about(source: DataSource, store: StoredData) -> dict[str, Any]:
    """What was read for an evaluation: rows = comparisons + skipped + bad_rows."""
    return {
        "input": source.path,
        "input_sha256": store.account.sha256,
        "format": store.account.format,
        "split": source.split,
        "label": source.label,
        "rows": store.account.rows,
        "bad_rows": store.account.bad_rows,
    }


def _account(stores: Sequence[StoredData], taken: EncodedData) -> dict[str, Any]:
    """The numbers of some stores, and of what is taken of them."""
    accounts = [store.account for store in stores]
    dropped: Counter[str] = Counter()
    for account in accounts:
        dropped.update(account.dropped)
    skipped = Joined([store.skipped for store in stores])
    return {
        "stores": [account.fingerprint for account in accounts],
        "sha256": [account.sha256 for account in accounts],
        "formats": [account.format for account in accounts],
        "rows": sum(account.rows for account in accounts),
        **_numbers(taken),
        "specials_in_content": sum(account.specials_in_content for account in accounts),
        "cut_prompts": sum(account.cut_prompts for account in accounts),
        "unread_thoughts": sum(account.unread_thoughts for account in accounts),
        "dropped": dict(dropped),
        "dropped_rows": [
            {"row": str(row.source), "reason": row.reason} for row in islice(skipped, _LISTED)
        ],
    }


def _numbers(taken: EncodedData) -> dict[str, int]:
    return {
        "groups": len(taken.groups),
        "comparisons": taken.num_comparisons,
        "tokens": taken.num_tokens,
    }


def _say_what_was_found(train: EncodedData, model: RewardModel) -> None:
    if train.specials_in_content:
        notice(
            f"{train.specials_in_content} special tokens are written out inside messages; "
            f"read as: {model.renderer.special_tokens}"
        )
    tokenizer = model.renderer.tokenizer
    own_system = own_system_text(tokenizer, model.renderer.template)
    if own_system is not None:
        notice(f"without a system message the template says: {own_system!r}")
    if len(train.last_tokens) > 1 and tokenizer.eos_token_id in train.last_tokens:
        common = ", ".join(
            f"{tokenizer.convert_ids_to_tokens(token)!r} {count}"
            for token, count in train.last_tokens.most_common(3)
        )
        warn(f"texts do not all end with the same token: {common}")
