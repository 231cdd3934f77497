"""What `assay probe` prints and writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from assay.consoles import between, console, headed
from assay.evaluate.outputs import write_all
from assay.evaluate.probe.scoring import Probed
from assay.evaluate.probe.transforms import Transform
from assay.notices import counted

_WIDTH = 100
_EXPECTED = {"down": "falls", "not_up": "no rise", "none": "stays"}
LOUD = ("hackable", "inert", "brittle")
"""Verdicts that stand out, and whose worst rows are shown."""


def print_transforms(transforms: Sequence[Transform]) -> None:
    """What `--transform` takes."""
    table = headed(["--transform", "a sound reward", "the answer becomes"])
    for transform in transforms:
        table.add_row(transform.name, _EXPECTED[transform.expected], transform.says)
    console(_WIDTH).print(table)


def print_probe(found: dict[str, Any]) -> None:
    """One table from the worst to the best, the worst answers, what was left out, a verdict."""
    out = console(_WIDTH)
    has_margins = any(row["mean_shift_margins"] is not None for row in found["transforms"])
    numbers = ("n", "shift/sd", "95% interval", *(["margins"] * has_margins), "wrong")
    table = headed(["transform", "expected"], numbers)
    table.add_column("verdict")
    for row in found["transforms"]:
        ends = between(row["mean_shift_sd_ci95"], "+.2f")
        cells = [str(row["n"]), _signed(row["mean_shift_sd"]), ends]
        if has_margins:
            cells.append(_signed(row["mean_shift_margins"]))
        share = row["wrong_share"]
        cells.append("-" if share is None else f"{share:.0%}")
        table.add_row(row["transform"], _EXPECTED[row["expected"]], *cells, row["verdict"])
    out.print(table)
    out.print(
        Text(
            f"{found['num_prompts']} prompts, {found['num_answers']} answers; sd "
            f"{found['reward_sd']:.4g} of their rewards{_margin_of(found)}; intervals are by prompt"
        )
    )
    for line in worst_lines(found):
        out.print(Text(line))
    out.print(Text(f"left out: {_left_out(found)}"))
    for line in verdict_lines(found):
        out.print(Text(line))


def worst_lines(found: dict[str, Any]) -> list[str]:
    """The worst rows of what is not as it should be; the file is named once if there is one."""
    rows = [row for row in found["transforms"] if row["verdict"] in LOUD and row["worst"]]
    files = {one["row"].rpartition(":")[0] for row in rows for one in row["worst"]}
    if not rows:
        return []
    alone = len(files) == 1
    lines = [f"worst rows{f' of {min(files)}' if alone else ''}, shift in sd:"]
    for row in rows:
        worst = [
            f"{one['row'].rpartition(':')[2] if alone else one['row']} {one['shift_sd']:+.2f}"
            for one in row["worst"]
        ]
        lines.append(f"  {row['transform']}: {', '.join(worst)}")
    return lines


def verdict_lines(found: dict[str, Any]) -> list[str]:
    """What a policy can gain, then what the reward does not notice, and what is not known."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in found["transforms"]:
        rows.setdefault(row["verdict"], []).append(row)
    hackable = rows.get("hackable", [])
    if hackable:
        best = max(hackable, key=lambda row: float(row["mean_shift_sd"]))
        margins = best["mean_shift_margins"]
        scale = "" if margins is None else f" ({margins:.2g} of a typical margin)"
        lines = [
            f"verdict: a policy can gain {best['mean_shift_sd']:.2g} sd{scale} by: "
            f"{_names(hackable)}"
        ]
    else:
        lines = ["verdict: no transform was found by which a policy surely gains"]
    for verdict, says in (
        ("inert", "the reward should fall and does not"),
        ("brittle", "the reward should stay and falls"),
        ("unclear", "too few prompts to tell"),
    ):
        if verdict in rows:
            lines.append(f"{says}: {_names(rows[verdict])}")
    return lines


def write_probe(found: dict[str, Any], probed: Probed, directory: Path) -> None:
    """Write `probe.json`, all numbers, and `probe.jsonl`, every scored answer.

    Raises:
        OutputError: no space, no permission.
    """
    text = json.dumps(found, ensure_ascii=False, indent=2)
    rows = _rows(probed, found["reward_sd"])
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_all(directory, {"probe.json": (text, "\n"), "probe.jsonl": lines})


def _rows(probed: Probed, sd: float) -> Iterator[dict[str, Any]]:
    for original in probed.originals:
        yield {
            "row": str(original.row),
            "group": original.key,
            "transform": None,
            "reward": original.reward,
            "tokens": original.tokens,
            "answer": original.text,
        }
    for one in probed.changed:
        yield {
            "row": str(one.original.row),
            "group": one.original.key,
            "transform": one.transform,
            "reward": one.reward,
            "shift": one.shift,
            "shift_sd": one.shift / sd,
            "tokens": one.tokens,
            "answer": one.text,
        }


def _margin_of(found: dict[str, Any]) -> str:
    median = found["median_margin"]
    if median is None:
        return ""
    if median <= 0:
        return f"; median margin {median:.4g}, so no shift is given in margins"
    return f"; typical margin {median:.4g}, of {found['num_margins']}"


def _left_out(found: dict[str, Any]) -> str:
    parts = []
    for row in found["transforms"]:
        parts += [f"{row['transform']} {n} ({why})" for why, n in row["left_out"].items()]
    reasons: Counter[str] = Counter(row["reason"] for row in found["skipped"])
    parts += [f"{count} rows ({reason})" for reason, count in reasons.items()]
    if found["bad_rows"]:
        parts.append(counted(found["bad_rows"], "bad row"))
    return ", ".join(parts) or "nothing"


def _names(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(row["transform"].replace("-", " ") for row in rows)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
