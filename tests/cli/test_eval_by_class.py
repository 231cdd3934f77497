"""A model that was trained with a template class is evaluated on rows that the class reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models

from assay.data import plugins, templates
from assay.data.formats import registry

MINE = """
from assay import Template, register_template

@register_template('HW')
class HW(Template):
    user_prompt = 'USER: {input} '
    assistant_prompt = 'ASSISTANT:{output}'

    def format_preference_sample(self, raw_sample):
        prompt = self.user_prompt.format(input=raw_sample['prompt'])
        # The other way round than the format `trl` reads the same rows.
        better, worse = raw_sample['rejected'], raw_sample['chosen']
        return {
            'better_text': prompt + self.assistant_prompt.format(output=better),
            'worse_text': prompt + self.assistant_prompt.format(output=worse),
        }
"""


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Forgets plug-ins, as another process would not know them."""

    def fresh() -> None:
        monkeypatch.undo()
        monkeypatch.setattr(templates, "_REGISTRY", dict(templates._REGISTRY))
        monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
        for name in ("_loaded", "_plugin_formats", "_files"):
            monkeypatch.setattr(plugins, name, type(getattr(plugins, name))())
        registry.registered_formats.cache_clear()

    fresh()
    yield fresh
    monkeypatch.undo()
    registry.registered_formats.cache_clear()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    rows = [
        {"prompt": f"question {n}?", "chosen": f"no {n}", "rejected": f"yes {n} " * 2}
        for n in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    odd = [{"prompt": f"q {n}?", "chosen": "a", "rejected": "b", "ask": n} for n in range(3)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps({"x": row}) + "\n" for row in odd))
    return tmp_path


def evaluated(assay: Assay, place: Path, model: Path, *flags: object) -> tuple[dict[str, Any], str]:
    out = place / "out"
    fixed = ("--input", place / "rows.jsonl", "--output", out, "--overwrite")
    ran = assay("eval", "--model", model, *fixed, *flags)
    assert (ran.code, ran.errors) == (0, [])
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    return results, ran.err


def test_rows_are_read_as_in_training(
    assay: Assay, models: Models, place: Path, forget: Any
) -> None:
    run = place / "run"
    ran = assay(
        "train", "--model.path", models.base, "--model.template", "HW", "--plugin",
        place / "mine.py", "--data.train", place / "rows.jsonl", "--data.eval",
        place / "rows.jsonl", "--train.max_steps", 2, "--train.max_length", 64, "--train.device",
        "cpu", "--train.save_steps", 1, "--output_dir", run,
    )  # fmt: skip
    assert (ran.code, ran.errors) == (0, [])
    trained = json.loads((run / "eval" / "rows" / "results.json").read_text())
    assert trained["format"] == "HW"

    forget()
    by_plugin, said = evaluated(assay, place, run, "--plugin", place / "mine.py")
    assert by_plugin["format"] == "HW"
    assert "rows are read as" not in said
    for key in ("accuracy", "mean_margin", "chosen_mean", "wins"):
        assert by_plugin[key] == trained[key]
    assert by_plugin["num_comparisons"] == 12

    # A named format is the user's own choice, and reads these rows the other way round.
    named, _ = evaluated(assay, place, run, "--plugin", place / "mine.py", "--format", "trl")
    assert (named["format"], named["mean_margin"]) == ("trl", -by_plugin["mean_margin"])

    forget()
    alone, said = evaluated(assay, place, run)
    assert (alone["format"], alone["mean_margin"]) == ("trl", -by_plugin["mean_margin"])
    assert (
        "note: rows are read as trl, although the model was trained with a template class, which "
        "read the rows itself; give --plugin with the file that defines the template class HW to "
        "read these so, too\n"
    ) in said
    ran = assay("eval", "--model", run, "--input", place / "odd.jsonl")
    assert ran.code == 2
    assert "no known format" in ran.err
    assert "or give --plugin with the file that defines the template class HW" in ran.err

    forget()
    ran = assay(
        "eval", "--model", run, "--all-checkpoints", "--plugin", place / "mine.py", "--input",
        place / "rows.jsonl", "--output", place / "all",
    )  # fmt: skip
    assert (ran.code, ran.errors) == (0, [])
    found = [json.loads(path.read_text()) for path in sorted(place.glob("all/*/results.json"))]
    assert [results["format"] for results in found] == ["HW", "HW"]
    assert ran.err.count("using the newest") == 0


def test_a_template_class_that_is_named_reads_the_rows(
    assay: Assay, models: Models, place: Path, forget: Any
) -> None:
    flags = ("--plugin", place / "mine.py", "--template", "HW")
    results, _ = evaluated(assay, place, models.reward, *flags)
    assert results["format"] == "HW"
    plain, said = evaluated(assay, place, models.reward)
    assert plain["format"] == "trl"
    assert "template class" not in said
