"""What `assay render` prints: exactly what the model reads."""

from __future__ import annotations

from collections.abc import Sequence

from assay.data.formats import VerbatimText
from assay.data.rendering import Rendered, Renderer, shared_prefix
from assay.data.rows import BadRow
from assay.data.scorable import ScorableRow, SourceReader
from assay.data.sources import DataSource
from assay.data.templates import own_system_text
from assay.errors import DataError


def show_row(renderer: Renderer, source: DataSource, number: int) -> None:
    """Print one row (counted from 1) as the model reads it, each response in turn.

    Raises:
        DataError: there is no such row, or it is a bad one.
    """
    place, _, item = _nth(source, number)
    if isinstance(item, VerbatimText):
        texts = [renderer.render_text(item.text)]
    else:
        texts = renderer.render_many([(item, index) for index in range(len(item.responses))])
    shared = shared_prefix([text.ids for text in texts]) if len(texts) > 1 else 0
    print(f"row: {place}")
    print(f"template: {renderer.template.name} (hash {renderer.template.hash})")
    own_system = own_system_text(renderer.tokenizer, renderer.template)
    if own_system is not None:
        print(f"without a system message the template says: {own_system!r}")
    if shared:
        print(
            f"shared prefix: {shared} tokens, "
            f"ending with {_words(renderer, texts[0].ids[shared - 1])}"
        )
    for index, text in enumerate(texts):
        _show_text(renderer, index, text, shared)


def _show_text(renderer: Renderer, index: int, text: Rendered, shared: int) -> None:
    ids = text.ids
    print(f"\n--- response {index}: {len(ids)} tokens ---")
    print(text.text)
    print("--- ids ---")
    # A text that is all prefix of another still ends with its own scored token.
    shared = min(shared, len(ids) - 1)
    parts = [" ".join(map(str, ids[shared:-1])), f"[{ids[-1]}]"]
    if shared:
        parts.insert(0, f"<{' '.join(map(str, ids[:shared]))}>")
    print(" ".join(part for part in parts if part))
    print(f"(<shared prefix>, [scored token] at position {len(ids) - 1})")
    print(f"last token: {ids[-1]} {_words(renderer, ids[-1])}")
    print(f"tokens at the end: {_end(renderer, ids)}")
    if text.specials_in_content:
        print(
            f"special tokens written out inside messages: {text.specials_in_content}, "
            f"read as: {renderer.special_tokens}"
        )


def _words(renderer: Renderer, token: int) -> str:
    return repr(renderer.tokenizer.decode([token]))


def _end(renderer: Renderer, ids: Sequence[int]) -> str:
    return " ".join(_words(renderer, token) for token in ids[-4:])


def _nth(source: DataSource, number: int) -> ScorableRow:
    count = 0
    for count, row in enumerate(SourceReader(source), start=1):
        if count == number:
            if isinstance(row, BadRow):
                raise DataError(row.what, where=row.source, mend=row.mend)
            return row
    raise DataError(
        f"there is no row {number}: {count} rows", where=source.path, mend="choose a smaller --row"
    )
