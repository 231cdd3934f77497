"""What `assay compare` prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from assay.consoles import between, console

_EXAMPLES = 3
"""Flipped rows on the screen, of each direction."""

_TAGS = 40
"""Tags on the screen: half of them with the lowest differences, half with the highest."""


def print_comparison(found: dict[str, Any], *, whole: bool) -> None:
    """The table, then how many rows flipped with examples.

    Args:
        found: what `compare` gives.
        whole: all flipped rows are in a file.
    """
    out = console(120)
    table = Table(show_header=True, header_style="bold")
    table.add_column("", overflow="fold")
    strict = "accuracy" if found["benchmark"] is None else "strict accuracy"
    for column in (strict, "95% interval", "difference", "95% paired", "gained", "lost", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    first = found["first"]
    table.add_row(Text(first["model"]), *_accuracy(first), *[""] * 5)
    for other in found["others"]:
        paired = other["paired"]
        table.add_row(
            Text(other["model"]),
            *_accuracy(other),
            f"{paired['difference']:+.4f}",
            between(paired["difference_ci95"], "+.3f"),
            str(paired["gained"]),
            str(paired["lost"]),
            f"{paired['mcnemar_p']:.2g}",
        )
    out.print(table)
    out.print(
        f"difference: to the first model, on the {found['unit']} that both scored; its interval "
        f"draws whole prompts ({found['bootstrap']['resamples']} samples, seed "
        f"{found['bootstrap']['seed']}).\n"
        f"p: McNemar's exact test, which takes {found['unit']} of one prompt as independent.",
        highlight=False,
    )
    for other in found["others"]:
        _print_numbers_of_benchmark(other)
        _print_tags(other, "tags" if found["benchmark"] is None else "subsets")
        _print_flips(other, found["unit"], whole=whole)


def _print_numbers_of_benchmark(other: dict[str, Any]) -> None:
    """The authors' number of both models, and what their pairs say."""
    if "headline" not in other:
        return
    headline, pairs = other["headline"], other["pairs"]
    first, this = headline["first"], headline["other"]
    score = f"no {headline['name']} without the rows that are missing"
    if first is not None and this is not None:
        score = f"{headline['name']} {first:.4f} -> {this:.4f}"
    out = console(120)
    out.print(Text(f"\n{other['model']}: {score}"))
    out.print(
        f"each right answer against each wrong one: {pairs['first']:.4f} -> {pairs['other']:.4f}, "
        f"difference {pairs['difference']:+.4f}, 95% {between(pairs['difference_ci95'], '+.3f')} "
        f"({pairs['num_comparisons']} pairs)",
        highlight=False,
    )


def _print_tags(other: dict[str, Any], called: str) -> None:
    """The differences by tag, the greatest losses first, where there are two tags or more."""
    if len(other["by_tag"]) < 2:
        return
    table = Table(show_header=True, header_style="bold")
    table.add_column(Text(f"{called}: {other['model']}"), overflow="fold")
    for column in ("n", "first", "this", "difference", "95% paired", "gained", "lost"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = sorted(other["by_tag"].items(), key=lambda entry: float(entry[1]["difference"]))
    shown = rows if len(rows) <= _TAGS else [*rows[: _TAGS // 2], *rows[-_TAGS // 2 :]]
    for number, (tag, paired) in enumerate(shown, start=1):
        table.add_row(
            Text(tag),
            str(paired["num_comparisons"]),
            f"{paired['first']:.4f}",
            f"{paired['other']:.4f}",
            f"{paired['difference']:+.4f}",
            between(paired["difference_ci95"], "+.3f"),
            str(paired["gained"]),
            str(paired["lost"]),
            end_section=len(shown) < len(rows) and number == _TAGS // 2,
        )
    out = console(120)
    out.print(table)
    if len(shown) < len(rows):
        out.print(
            f"{len(rows) - len(shown)} {called} between them are not shown; --output FILE.json "
            "holds all",
            highlight=False,
        )


def _print_flips(other: dict[str, Any], unit: str, *, whole: bool) -> None:
    out, paired, flipped = console(120), other["paired"], other["flipped"]
    unpaired = [
        f"{len(other[field])} only {by}"
        for field, by in (("only_first", "by the first"), ("only_other", "by this one"))
        if other[field]
    ]
    line = (
        f"\n{other['model']}: {paired['num_comparisons']} {unit} of {paired['num_prompts']} "
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
    return f"{row['accuracy']:.4f}", between(row["accuracy_ci95"])
