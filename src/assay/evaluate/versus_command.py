"""What `assay versus` computes, prints and writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from assay.consoles import between, console, headed
from assay.data.audit.texts import excerpt
from assay.data.encoding import warn_of_unread_thoughts
from assay.data.loading import SkippedRow
from assay.data.prompts import asked
from assay.errors import AssayError, DataError
from assay.evaluate.outputs import listed
from assay.evaluate.versus import Duel, Matched, Policy, duel_metrics, match, unmatched
from assay.files import text_output
from assay.model.reward_model import RewardModel
from assay.notices import counted, warn
from assay.score.scorer import RowScores, reading_limit, score_or_refuse

_WINDOW = 256
"""Prompts scored together."""

_EXAMPLES = 3


def read_both(a: Policy, b: Policy) -> tuple[list[Matched], dict[str, Any]]:
    """The prompts that both answered, and an account of all rows of both.

    Raises:
        DataError: they share no prompt.
    """
    matched = match(a, b)
    account = {
        name: {
            "input": policy.source.path,
            "input_sha256": policy.fingerprint,
            "rows": policy.num_rows,
            "bad_rows": [str(row.source) for row in policy.bad_rows],
            "left_out": listed(policy.left_out),
            "prompts": len(policy.groups),
            "unmatched": unmatched(policy, other),
        }
        for name, policy, other in (("a", a, b), ("b", b, a))
    }
    return matched, account


def versus_command(
    model: RewardModel,
    name: str,
    a: Policy,
    b: Policy,
    *,
    output: Path | None,
    limit: int | None,
    max_length: int | None,
) -> dict[str, Any]:
    """Score both policies' answers and compare; returns what stands in the JSON file.

    Args:
        model: the model.
        name: as the user called it.
        a: one policy's answers.
        b: the other's.
        output: the JSON file; None where nothing is written.
        limit: of the rows that were read, for the account.
        max_length: tokens of a sequence.

    Raises:
        AssayError: no common prompt, nothing that can be scored, an output that cannot be written.
    """
    reading_limit(model, max_length)
    matched, account = read_both(a, b)
    duels, skipped, truncated, thoughts = _duels(model, matched, max_length)
    if not duels:
        raise DataError(
            f"no prompt is left to compare of {len(matched)} ({skipped[0].reason})",
            where=a.source.path,
            mend="raise --max-length, or look at the rows",
        )
    found = {
        "model": name,
        "template_hash": model.renderer.template.hash,
        **account,
        "limit": limit,
        "skipped": listed(skipped),
        "truncated": truncated,
        **duel_metrics(duels),
        "prompts": [_prompt_row(duel) for duel in duels],
    }
    print_versus(found)
    if truncated:
        warn(f"{truncated} answers were read without the beginning of their prompt")
    warn_of_unread_thoughts(thoughts, model.renderer.template.name)
    if output is not None:
        with text_output(output) as file:
            file.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        print(f"results: {output}")
    return found


def print_versus(found: dict[str, Any]) -> None:
    """One table, what was left out, and the prompts on which the two differ most."""
    out = console(120)
    out.print(Text(f"A  {found['a']['input']}\nB  {found['b']['input']}"), soft_wrap=True)
    table = headed(["A against B"], ["", "95% interval"])
    table.add_row("win rate", f"{found['win_rate']:.4f}", between(found["win_rate_ci95"]))
    controlled = found["length_controlled_win_rate"]
    table.add_row(
        "win rate at equal lengths",
        "-" if controlled is None else f"{controlled:.4f}",
        between(found["length_controlled_ci95"]) if controlled is not None else "",
    )
    ends = found["mean_difference_ci95"]
    table.add_row("mean difference of rewards", f"{found['mean_difference']:+.4f}", between(ends))
    table.add_row("A is longer by (tokens)", f"{found['mean_longer']:+.1f}", "")
    table.add_row("A is the longer one", f"{found['share_longer']:.4f}", "")
    out.print(table)
    if found["length_note"] is not None:
        out.print(f"no win rate at equal lengths: {found['length_note']}", highlight=False)
    out.print(
        f"{found['num_prompts']} prompts: {found['wins']} wins, {found['ties']} ties, "
        f"{found['losses']} losses of A; a tie counts one half, intervals are by prompt",
        highlight=False,
    )
    left = [
        f"{len(found[name]['unmatched'])} prompts only in {name.upper()}"
        for name in "ab"
        if found[name]["unmatched"]
    ]
    if found["skipped"]:
        left.append(f"{len(found['skipped'])} prompts skipped ({found['skipped'][0]['reason']})")
    for name in "ab":
        reasons = Counter(row["reason"] for row in found[name]["left_out"])
        left += [f"{count} rows of {name.upper()} ({why})" for why, count in reasons.items()]
    left += [
        f"{counted(len(found[name]['bad_rows']), 'bad row')} in {name.upper()}"
        for name in "ab"
        if found[name]["bad_rows"]
    ]
    out.print(Text(f"left out: {', '.join(left) or 'nothing'}"), soft_wrap=True)
    ordered = sorted(found["prompts"], key=lambda row: float(row["difference"]))
    best = [row for row in ordered[::-1][:_EXAMPLES] if row["difference"] > 0]
    worst = [row for row in ordered[:_EXAMPLES] if row["difference"] < 0]
    for what, rows in (("A better", best), ("B better", worst)):
        for row in rows:
            line = f"  {what}  {row['row']}  {row['difference']:+.2f}  {row['prompt']}"
            out.print(Text(line), no_wrap=True, overflow="ellipsis")


def _duels(
    model: RewardModel, matched: Sequence[Matched], max_length: int | None
) -> tuple[list[Duel], list[SkippedRow], int, int]:
    """Scored prompts and those that cannot be scored.

    Then how many answers lost some of a prompt, and how many a reasoning that nobody reads.
    """
    duels: list[Duel] = []
    skipped: list[SkippedRow] = []
    truncated = thoughts = 0
    for start in range(0, len(matched), _WINDOW):
        window = matched[start : start + _WINDOW]
        found = score_or_refuse(model, [one.group for one in window], max_length=max_length)
        for one, row in zip(window, found, strict=True):
            if isinstance(row, AssayError):
                skipped.append(SkippedRow(one.group.source, row.what))
                continue
            duels.append(_duel(one, row))
            truncated += sum(row.truncated)
            thoughts += row.unread_thoughts
    return duels, skipped, truncated, thoughts


def _duel(matched: Matched, row: RowScores) -> Duel:
    n = matched.num_a
    return Duel(
        matched,
        tuple(row.scores[:n]),
        tuple(row.scores[n:]),
        tuple(row.num_tokens[:n]),
        tuple(row.num_tokens[n:]),
    )


def _prompt_row(duel: Duel) -> dict[str, Any]:
    group = duel.matched.group
    return {
        "row": str(group.source),
        "group": duel.matched.key,
        "prompt": excerpt(asked(group.prompt)),
        "win": duel.win,
        "difference": duel.difference,
        "rewards_a": list(duel.rewards_a),
        "rewards_b": list(duel.rewards_b),
        "tokens_a": list(duel.tokens_a),
        "tokens_b": list(duel.tokens_b),
    }
