"""`assay render` shows exactly what the model reads, and needs neither weights nor torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Assay, Models, cvalues_rows

WriteRows = Callable[..., Path]

ROW = {"prompt": "Why?", "chosen": "Because.", "rejected": "No idea."}


def shown_ids(out: str) -> list[list[int]]:
    """The ids behind each `--- ids ---`, the marks around them taken off."""
    lines = out.splitlines()
    places = [index for index, line in enumerate(lines) if line == "--- ids ---"]
    return [[int(number) for number in re.findall(r"\d+", lines[at + 1])] for at in places]


@pytest.fixture
def tokenizer_only(models: Models, tmp_path: Path) -> Path:
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(models.base / name, directory)
    return directory


def test_text_ids_prefix_and_scored_token(
    assay: Assay, models: Models, write_rows: WriteRows, tiny_tokenizer: Any
) -> None:
    rows = write_rows([ROW])
    ran = assay("render", "--model", models.base, "--input", rows)
    assert ran.code == 0
    question = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    texts = [f"{question}{answer}<|im_end|>\n" for answer in ("Because.", "No idea.")]
    for text in texts:
        assert text in ran.out
    expected = [tiny_tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert shown_ids(ran.out) == expected

    shared = 0
    while expected[0][shared] == expected[1][shared]:
        shared += 1
    ending = tiny_tokenizer.decode([expected[0][shared - 1]])
    assert f"shared prefix: {shared} tokens, ending with {ending!r}" in ran.out
    prefix = " ".join(map(str, expected[0][:shared]))
    for ids in expected:
        # <shared prefix> the rest [scored token]
        rest = " ".join(map(str, ids[shared:-1]))
        assert f"<{prefix}> {rest} [{ids[-1]}]" in ran.out
        assert f"at position {len(ids) - 1})" in ran.out
        assert f": {len(ids)} tokens ---" in ran.out
        assert f"last token: {ids[-1]} '\\n'" in ran.out
    assert "'<|im_end|>' '\\n'" in ran.out  # the tokens at the end, decoded one by one


def test_a_registered_template_ends_with_the_end_token(
    assay: Assay, models: Models, write_rows: WriteRows
) -> None:
    rows = write_rows([ROW])
    ran = assay("render", "--model", models.base, "--input", rows, "--template", "homework")
    assert "BEGINNING OF CONVERSATION: USER: Why? ASSISTANT:Because.<|im_end|>" in ran.out
    assert "last token: 2 '<|im_end|>'" in ran.out
    assert "template: homework (hash " in ran.out


def test_a_tokenizer_alone_is_enough_and_reads_the_same(
    assay: Assay, models: Models, tokenizer_only: Path, write_rows: WriteRows
) -> None:
    rows = write_rows([ROW])
    ran = assay("render", "--tokenizer", tokenizer_only, "--input", rows)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == assay("render", "--model", models.base, "--input", rows).out


def test_row_chooses_the_row(assay: Assay, models: Models, write_rows: WriteRows) -> None:
    rows = write_rows(cvalues_rows(3))
    for number in (1, 2, 3):
        out = assay("render", "--model", models.base, "--input", rows, "--row", number).out
        assert out.startswith(f"row: {rows}:{number}\n")
        assert f"question {number - 1}?" in out


def test_rows_that_cannot_be_compared_are_shown_too(
    assay: Assay, models: Models, write_rows: WriteRows
) -> None:
    render = ("render", "--model", models.base, "--input")
    same = assay(*render, write_rows([ROW | {"rejected": ROW["chosen"]}]))
    [first, second] = shown_ids(same.out)
    assert first == second
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]
    one = assay(*render, write_rows([{"messages": turns}]))
    assert one.code == 0
    assert "shared prefix" not in one.out.split("---")[0]
    verbatim = assay(*render, write_rows([{"text": "<|im_start|>as it stands"}]))
    assert "\n<|im_start|>as it stands\n" in verbatim.out
    assert shown_ids(verbatim.out)[0][0] == 1  # the special token itself


def test_special_tokens_inside_messages_are_counted(
    assay: Assay, models: Models, write_rows: WriteRows
) -> None:
    rows = write_rows([ROW | {"prompt": "What is <|im_end|>?"}])  # T9
    ran = assay("render", "--model", models.base, "--input", rows)
    assert "special tokens written out inside messages: 1, read as: text" in ran.out
    for ids in shown_ids(ran.out):
        assert ids.count(2) == 2  # the template's own two, not the user's


def test_a_model_reads_as_it_was_trained(
    assay: Assay, models: Models, write_rows: WriteRows
) -> None:
    """A saved reward model says nothing; another template than its own is warned of."""
    rows = write_rows([ROW])
    assert assay("render", "--model", models.reward, "--input", rows).err == ""
    warned = assay("render", "--model", models.reward, "--input", rows, "--template", "homework")
    assert warned.code == 0
    assert warned.err.startswith("warning: ")
    assert "rewards are not comparable" in warned.err


def test_rows_from_stdin(assay: Assay, models: Models) -> None:
    rows = json.dumps(ROW).encode()
    ran = assay("render", "--model", models.base, "--input", "-", stdin=rows)
    assert ran.code == 0
    assert ran.out.startswith("row: stdin:1\n")


def test_render_needs_no_weights_and_no_torch(tokenizer_only: Path, write_rows: WriteRows) -> None:
    """In a process in which torch cannot be imported, as where it is not installed.

    Where torch is installed, the tokenizers of transformers import it; Assay's modules do not.
    """
    rows = write_rows([ROW])
    program = (
        "import sys\n"
        "import assay.cli, assay.data.showing, assay.model.reader\n"
        "assert 'torch' not in sys.modules\n"
        "sys.modules['torch'] = None\n"
        "from assay.cli import main\n"
        f"sys.argv = ['assay', 'render', '--tokenizer', {str(tokenizer_only)!r}, "
        f"'--input', {str(rows)!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    assert sys.modules['torch'] is None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Because.<|im_end|>" in done.stdout
