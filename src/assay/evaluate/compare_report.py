"""What `assay compare` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from assay.consoles import console

_EXAMPLES = 3
"""Flipped rows on the screen, of each direction."""


def print_comparison(found: dict[str, Any], *, whole: bool) -> None:
    """The table, then how many rows flipped with examples.

    Args:
        found: what `compare` gives.
        whole: all flipped rows are in a file.
    """
    out = console(120)
    table = Table(show_header=True, header_style="bold")
    table.add_column("", overflow="fold")
    for column in ("accuracy", "95% interval", "difference", "95% paired", "gained", "lost", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    first = found["first"]
    table.add_row(Text(first["model"]), *_accuracy(first), *[""] * 5)
    for other in found["others"]:
        paired = other["paired"]
        low, high = paired["difference_ci95"]
        table.add_row(
            Text(other["model"]),
            *_accuracy(other),
            f"{paired['difference']:+.4f}",
            f"{low:+.3f} to {high:+.3f}",
            str(paired["gained"]),
            str(paired["lost"]),
            f"{paired['mcnemar_p']:.2g}",
        )
    out.print(table)
    out.print(
        "difference: to the first model, on the comparisons that both scored; its interval draws "
        f"whole prompts ({found['bootstrap']['resamples']} samples, seed "
        f"{found['bootstrap']['seed']}).\n"
        "p: McNemar's exact test, which takes comparisons of one prompt as independent.",
        highlight=False,
    )
    for other in found["others"]:
        _print_flips(other, whole=whole)


def _print_flips(other: dict[str, Any], *, whole: bool) -> None:
    out, paired, flipped = console(120), other["paired"], other["flipped"]
    unpaired = [
        f"{len(other[field])} only {by}"
        for field, by in (("only_first", "by the first"), ("only_other", "by this one"))
        if other[field]
    ]
    line = (
        f"\n{other['model']}: {paired['num_comparisons']} comparisons of {paired['num_prompts']} "
        f"prompts scored by both{''.join(f', {part}' for part in unpaired)}; "
        f"{len(flipped)} flipped"
    )
    if flipped and not whole:
        line += " (--output FILE.json holds them all)"
    out.print(Text(line), soft_wrap=True)
    for flip in ("gained", "lost"):
        some = [row for row in flipped if row["flip"] == flip]
        some.sort(key=lambda row: -abs(row["margins"][1] - row["margins"][0]))
        for row in some[:_EXAMPLES]:
            ours, theirs = row["margins"]
            out.print(
                Text(
                    f"  {flip:6} {row['row']}  margin {ours:+.2f} -> {theirs:+.2f}  {row['prompt']}"
                ),
                no_wrap=True,
                overflow="ellipsis",
            )


def _accuracy(row: dict[str, Any]) -> tuple[str, str]:
    low, high = row["accuracy_ci95"]
    return f"{row['accuracy']:.4f}", f"{low:.3f} to {high:.3f}"
