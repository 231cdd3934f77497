"""The worst mistakes and the closest calls: prompt and both answers, with the words that differ."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assay.data.audit.texts import script_of
from assay.pages.escaping import text
from assay.report.differing import Marked, differing
from assay.report.found import EvaluatedSet
from assay.report.parts import count, heading, many, paragraph, signed

MOST_CHARACTERS = 12_000
"""Of one message; the rest is counted."""
_OPEN = 1200
"""Characters of a prompt that stand open; a longer one is folded."""
_LANGUAGES = {
    "han": "zh",
    "kana": "ja",
    "hangul": "ko",
    "thai": "th",
    "hebrew": "he",
    "greek": "el",
    "arabic": "und-Arab",
    "cyrillic": "und-Cyrl",
    "devanagari": "und-Deva",
    "bengali": "und-Beng",
}
"""What a script says of the language; Latin says nothing."""

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
Row = Mapping[str, Any]


def rows_of(one: EvaluatedSet, *, texts: bool) -> str:
    """Both lists; without texts where the results hold none, or they are to be left out.

    Args:
        one: the evaluation.
        texts: whether texts are shown.
    """
    found = one.comparisons
    if not found.mistakes and not found.closest:
        return ""
    parts = []
    has_texts = any("chosen" in row for row in (*found.mistakes, *found.closest))
    if not texts:
        parts.append(paragraph("Texts are left out (--no-texts).", "absent"))
    elif not has_texts:
        parts.append(
            paragraph(
                "Texts are not known: these scores were stored without them. How to get them: "
                "evaluate with a model instead of --scores.",
                "absent",
            )
        )
    shown = texts and has_texts
    if found.mistakes:
        says = (
            f"{many(found.num_mistakes, 'comparison')} not won; these have the lowest margins."
            + (_MARKS if shown else "")
        )
        parts += [heading("Worst mistakes"), paragraph(says)]
        parts += [_row(row, shown) for row in found.mistakes]
    else:
        parts += [heading("Worst mistakes"), paragraph("No comparison was lost or tied.")]
    if found.closest:
        parts += [
            heading("Closest calls"),
            paragraph("Other comparisons with margins nearest to 0: a little noise decides them."),
            *(_row(row, shown) for row in found.closest),
        ]
    return "".join(parts)


_MARKS = (
    " Words that differ are underlined: those that one answer adds where both are much alike, else "
    "those that stand nowhere in the other."
)


def _row(row: Row, shown: bool) -> str:
    place = str(row.get("row", "?"))
    tokens = ""
    if row.get("chosen_tokens") is not None:
        tokens = f"; {count(row['chosen_tokens'])} and {count(row['rejected_tokens'])} tokens"
    tags = row.get("tags") or {}
    named = f" · {', '.join(map(str, tags.values()))}" if tags else ""
    result = {"win": "right", "loss": "wrong", "tie": "tie"}.get(str(row.get("result")), "")
    margin = row["chosen_reward"] - row["rejected_reward"]
    numbers = (
        f"{result}, margin {signed(margin)}; rewards {signed(row['chosen_reward'])} "
        f"and {signed(row['rejected_reward'])}{tokens}"
    )
    body = _texts(row) if shown and "chosen" in row else ""
    return (
        f'<article class="row"><h4><bdi>{text(place)}</bdi></h4>'
        f'<p class="numbers">{text(numbers)}<bdi>{text(named)}</bdi></p>{body}</article>\n'
    )


def _texts(row: Row) -> str:
    prompt, better, worse = (_messages(row.get(name)) for name in ("prompt", "chosen", "rejected"))
    language = _named_language(row)
    sides = []
    for place, (kind, title, own) in enumerate(
        (("better", "Better", better), ("worse", "Worse", worse))
    ):
        said = []
        for number, (role, content) in enumerate(own):
            other = (worse, better)[place]
            against = other[number][1] if number < len(other) else ""
            marks = differing(content, against)[0]
            if len(own) > 1:
                said.append(f'<p class="who">{text(role)}</p>')
            said.append(_said(content, _html_of(marks), language))
        reward = signed(row["chosen_reward" if kind == "better" else "rejected_reward"])
        sides.append(
            f'<div class="answer {kind}"><h5>{title} <span class="who">reward {reward}</span></h5>'
            f"{''.join(said)}</div>"
        )
    return f'{_prompt(prompt, language)}<div class="pair">{"".join(sides)}</div>'


def _prompt(messages: Sequence[tuple[str, str]], language: str | None) -> str:
    said = "".join(
        f'<p class="who">{text(role)}</p>{_said(content, text(content), language)}'
        for role, content in messages
    )
    long = sum(len(content) for _, content in messages) > _OPEN
    if long:
        what = f"Prompt, {many(len(messages), 'message')}"
        said = f"<details><summary>{what}</summary>{said}</details>"
    return f'<div class="prompt">{said}</div>' if said else ""


def _messages(found: Any) -> list[tuple[str, str]]:
    """Role and text of each message; what is no text, such as tool calls, as JSON."""
    if isinstance(found, str):
        return [("text", _cut(found))]
    if not isinstance(found, list):
        return []
    messages = []
    for message in found:
        if not isinstance(message, dict):
            continue
        content = message.get("content")
        own = content if isinstance(content, str) else _json(content) if content else ""
        others = {k: v for k, v in message.items() if k not in ("role", "content") and v}
        told = "\n".join([own, *(f"{name}: {_json(value)}" for name, value in others.items())])
        messages.append((str(message.get("role", "")), _cut(told.strip("\n"))))
    return messages


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(words: str) -> str:
    left = len(words) - MOST_CHARACTERS
    if left <= 0:
        return words
    return f"{words[:MOST_CHARACTERS]}\n[and {count(left)} characters]"


def _said(content: str, inner: str, language: str | None) -> str:
    known = language or _LANGUAGES.get(script_of(_whole(content)))
    marked = f' lang="{text(known)}"' if known else ""
    return f'<p class="said" dir="auto"{marked}>{inner or "(empty)"}</p>'


def _whole(content: str) -> str:
    """Without halves of pairs, which no script is told by."""
    return content.encode(errors="ignore").decode()


def _named_language(row: Row) -> str | None:
    """A language tag that the row carries, where it looks like one."""
    named = (row.get("tags") or {}).get("language")
    is_tag = isinstance(named, str) and _LANGUAGE.fullmatch(named)
    return str(named) if is_tag else None


def _html_of(marks: Marked) -> str:
    return "".join(
        f"<mark>{text(piece)}</mark>" if is_only else text(piece) for piece, is_only in marks
    )
