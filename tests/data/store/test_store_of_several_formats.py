"""A store of files in several schemas, rated ones among them, is what memory gives."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from store_rows import MakePreparation, bytes_of

from assay.data.encoding import encode_groups
from assay.data.loading import load_groups
from assay.data.sources import DataSource
from assay.data.store import chunks as chunking
from assay.data.store import prepare_source

FORMATS = ["helpsteer2", "cvalues", "trl_unpaired", "hh", "helpsteer2"]


def row_of(format: str, draw: random.Random) -> dict[str, Any]:
    prompt, *answers = (f"{word} {draw.randrange(8)}" for word in ("question", "an", "answer"))
    if format == "helpsteer2":
        rating = draw.choice([0, 1, 2, None])
        return {"prompt": prompt, "response": answers[0], "helpfulness": rating}
    if format == "trl_unpaired":
        return {"prompt": prompt, "completion": answers[0], "label": draw.random() < 0.5}
    if format == "cvalues":
        return {"prompt": prompt, "pos_resp": answers[0], "neg_resp": answers[1]}
    begin = f"\n\nHuman: {prompt}\n\nAssistant: "
    return {"chosen": begin + answers[0], "rejected": begin + answers[1]}


@pytest.mark.parametrize("group_by", ["prompt", "row"])
@pytest.mark.parametrize("how_made", ["in memory", "over the disk", "by two processes"])
def test_it_is_what_memory_gives(
    group_by: Any,
    how_made: str,
    preparation: MakePreparation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    draw = random.Random(3)
    for number, format in enumerate(FORMATS):
        rows = [row_of(format, draw) for _ in range(30)] + [{"odd": number}]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{number}.jsonl").write_text(lines)
    if how_made != "in memory":
        monkeypatch.setattr(chunking, "ROWS_IN_MEMORY", 20)
        monkeypatch.setattr(chunking, "_ROWS", 16)
        monkeypatch.setattr(chunking, "_FEWEST", 5)
    source, how = DataSource(str(folder)), preparation(group_by=group_by)
    workers = 2 if how_made == "by two processes" else 1
    store = prepare_source(source, how, workers=workers, output=tmp_path / "store")

    loaded = load_groups([source], on_bad_row="skip", group_by=group_by)
    encoded = encode_groups(loaded.groups, how.renderer, max_length=120, on_bad_row="skip")
    assert list(store.groups) == list(encoded.groups)
    assert list(store.skipped) == [*loaded.skipped, *encoded.skipped]
    assert list(store.bad_rows) == loaded.bad_rows
    assert store.account.format == "helpsteer2, cvalues, trl_unpaired, hh" == loaded.formats[0]
    assert len({c.row.file for group in store.groups for c in group.comparisons if c.row}) > 3
    again = prepare_source(source, how, workers=1, output=tmp_path / "again")
    assert bytes_of(again.path) == bytes_of(store.path)
