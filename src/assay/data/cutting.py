"""Prompts that are cut so that their responses fit; responses are never touched.

The cut is one for the whole group, and the smallest that makes its longest response fit. A
response that would not fit behind the smallest prompt takes no part: it is dropped by the caller.

Whole turns: a turn begins with a message of the user that does not follow another of the user.
The oldest go first; system and developer messages at the very beginning stay, and so does the last
turn. The conversation is rendered anew without them.

Tokens: those go that stand furthest left in the prompt, behind the heading of its first turn: the
begin token, the leading system messages (the template's own, too) and the mark of the role stay.
The prompt is what all sequences of the group and the prompt rendered alone have in common (so the
heading of the answer is no part of it); one token of it always stays. The heading of the first turn
is what the prompt has in common with the same prompt whose first turn says something else. Where
the template cannot render a prompt without an answer, nothing is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from assay.data.records import Group, Message, Response
from assay.data.rendering import Renderer, TokenIds, shared_prefix
from assay.errors import AssayError

_WORDS = ("a", "1")
"""What a first turn may say instead: no text begins like both."""


@dataclass(frozen=True, slots=True)
class CutGroup:
    """A group whose prompt was cut: what is left of it, and the new sequences."""

    group: Group
    ids: list[TokenIds]


def cut_prompt(
    group: Group,
    ids: Sequence[TokenIds],
    renderer: Renderer,
    max_length: int,
    *,
    whole_turns: bool,
) -> CutGroup | None:
    """Cut the prompt of a group until its responses fit.

    Args:
        group: the group.
        ids: its sequences; one that the template refused is empty.
        renderer: how the model reads.
        max_length: tokens of prompt and response together.
        whole_turns: leave out turns; else cut tokens.

    Returns:
        None where nothing needs to be cut, or no cut helps.
    """
    if all(len(sequence) <= max_length for sequence in ids):
        return None
    if whole_turns:
        return _without_turns(group, ids, renderer, max_length)
    return _without_tokens(group, ids, renderer, max_length)


def _without_turns(
    group: Group, ids: Sequence[TokenIds], renderer: Renderer, max_length: int
) -> CutGroup | None:
    answered = [index for index, sequence in enumerate(ids) if sequence]
    shorter = list(_shorter_prompts(group.prompt))
    if not shorter:
        return None
    least = _rendered(replace(group, prompt=shorter[-1]), answered, renderer)
    fitting = [index for index, sequence in least.items() if len(sequence) <= max_length]
    if not fitting or all(len(ids[index]) <= max_length for index in fitting):
        return None
    longest = max(fitting, key=lambda index: len(ids[index]))
    for prompt in shorter:
        candidate = replace(group, prompt=prompt)
        first = _rendered(candidate, [longest], renderer)
        if len(first.get(longest, ())) > max_length or not first:
            continue
        found = _rendered(candidate, fitting, renderer)
        if len(found) == len(fitting) and all(len(x) <= max_length for x in found.values()):
            # The others stay too long as they are, which the caller counts.
            return CutGroup(candidate, [found.get(n, old) for n, old in enumerate(ids)])
    return None


def _shorter_prompts(prompt: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """The prompt without its oldest turn, without its two oldest, ... down to its last turn."""
    head = _leading_system(prompt)
    begins = [
        index
        for index in range(head + 1, len(prompt))
        if prompt[index].role == "user" and prompt[index - 1].role != "user"
    ]
    for index in begins:
        yield prompt[:head] + prompt[index:]


def _leading_system(prompt: Sequence[Message]) -> int:
    count = 0
    while count < len(prompt) and prompt[count].role in ("system", "developer"):
        count += 1
    return count


def _rendered(group: Group, responses: Sequence[int], renderer: Renderer) -> dict[int, TokenIds]:
    """Sequences by response; those that the template refuses are left out."""
    found = {}
    for index in responses:
        try:
            found[index] = renderer.render(group, index).ids
        except AssayError:
            continue
    return found


def _without_tokens(
    group: Group, ids: Sequence[TokenIds], renderer: Renderer, max_length: int
) -> CutGroup | None:
    answered = [sequence for sequence in ids if sequence]
    prompt = _alone(group, group.prompt, renderer)
    end = shared_prefix([*answered, prompt])
    begin = min(_kept_head(group, renderer, prompt), end)
    most = end - begin - 1
    fitting = [sequence for sequence in answered if len(sequence) - most <= max_length]
    if most < 1 or not fitting:
        return None
    cut = max(map(len, fitting)) - max_length
    if cut < 1:
        return None
    shorter = {sequence: sequence[:begin] + sequence[begin + cut :] for sequence in fitting}
    return CutGroup(group, [shorter.get(sequence, sequence) for sequence in ids])


def _alone(group: Group, prompt: Sequence[Message], renderer: Renderer) -> TokenIds:
    """Messages of the prompt without a response; empty where the template refuses that."""
    silent = replace(
        group, prompt=tuple(prompt), responses=(Response(()),), comparisons=(), rankings=()
    )
    try:
        return renderer.render(silent, 0).ids
    except AssayError:
        return ()


def _kept_head(group: Group, renderer: Renderer, prompt: TokenIds) -> int:
    """How many tokens of the prompt stand before the words of its first turn."""
    at = _leading_system(group.prompt)
    before, first, after = group.prompt[:at], group.prompt[at : at + 1], group.prompt[at + 1 :]
    others = [replace(message, content=words) for message in first for words in _WORDS]
    rendered = [_alone(group, (*before, other, *after), renderer) for other in others]
    return shared_prefix([prompt, *rendered])
