"""`assay score`: what stands in each line, in which order, and that the numbers are the model's."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Assay, Models, cvalues_rows, ids_that_reach_the_model

WriteRows = Callable[..., Path]

USER = {"role": "user", "content": "Why?"}
ASSAY_FIELDS = ["scores", "num_tokens", "truncated", "model", "template_hash"]


@pytest.fixture(scope="module")
def loud(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny reward model with a head 1,000 times as large: rewards far outside [0, 1]."""
    from safetensors.torch import load_file, save_file

    directory = tmp_path_factory.mktemp("loud") / "model"
    shutil.copytree(models.reward, directory)
    weights = load_file(directory / "model.safetensors")
    weights["score.weight"] *= 1000
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def score(assay: Assay, loud: Path, write_rows: WriteRows, tmp_path: Path) -> Any:
    """Scores rows into a file and returns its lines as they stand."""

    def run(rows: list[dict[str, Any]], *flags: object, model: Path = loud) -> list[str]:
        output = tmp_path / "scored.jsonl"
        argv = ("--model", model, "--input", write_rows(rows), "--output", output, *flags)
        ran = assay("score", *argv, "--overwrite")
        assert ran.code == 0, ran.err
        # Not splitlines: U+2028 inside a text is no end of a line of JSON.
        return output.read_text(encoding="utf-8").removesuffix("\n").split("\n")

    return run


def scores(line: str) -> list[float]:
    found: list[float] = json.loads(line)["assay"]["scores"]
    return found


def expected(model: Path, text: str) -> float:
    """What transformers itself says of a text that is already rendered."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    classifier = AutoModelForSequenceClassification.from_pretrained(model)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return float(classifier(input_ids=ids).logits[0, 0])


def chatml(prompt: str, response: str) -> str:
    turns = (("user", prompt), ("assistant", response))
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)


def test_one_line_a_row_in_order_with_the_rows_own_fields(score: Any, loud: Path) -> None:
    rows = [
        {
            "id": 2**60,
            "prompt": f"Why {n}?",
            "chosen": "a" * (60 - n),
            "rejected": "b",
            "note": None,
        }
        | {"深": {"z": [1.0, "é\u2028"], "a": 0.1}}
        for n in range(20)
    ]
    lines = score(rows)
    assert len(lines) == 20
    for row, line in zip(rows, lines, strict=True):
        written = json.loads(line)
        assert list(written) == [*row, "assay"]
        assert {key: written[key] for key in row} == row
        assert list(written["assay"]) == ASSAY_FIELDS
        assert written["assay"]["model"] == str(loud)
        assert re.fullmatch("[0-9a-f]{16}", written["assay"]["template_hash"])
        assert written["assay"]["truncated"] == [False, False]
    assert '"1.0"' not in lines[0]
    assert "é\u2028" in lines[0]


def test_scores_are_raw_logits_as_transformers_computes_them(  # T43
    score: Any, loud: Path, tiny_tokenizer: Any
) -> None:
    [line] = score([{"prompt": "Why?", "responses": ["Because.", "No idea at all."]}])
    texts = [chatml("Why?", answer) for answer in ("Because.", "No idea at all.")]
    # Two float32 sums of the same 32 products, in another order: 32 eps = 4e-6 relative to the
    # largest of them, which the head makes about 1,000.
    assert scores(line) == pytest.approx([expected(loud, text) for text in texts], rel=2e-5)
    assert max(map(abs, scores(line))) > 1
    assert json.loads(line)["assay"]["num_tokens"] == [
        len(tiny_tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts
    ]


def test_scores_are_the_shortest_text_of_a_float32(score: Any) -> None:  # T43
    lines = score(cvalues_rows(12))
    texts = [
        text
        for line in lines
        for text in re.findall(r'"scores": \[([^\]]*)\]', line)[0].split(", ")
    ]
    assert len(texts) == 24
    for text in texts:
        number = np.float32(text)
        assert float(text) == float(str(number))
        digits = len(re.sub(r"[-.]|e.*", "", text).strip("0"))
        assert digits <= 9  # nine digits tell any two float32 numbers apart
        if digits > 1:
            shorter = f"{float(text):.{digits - 2}e}"  # one significant digit less
            assert np.float32(shorter) != number


def test_six_digits_at_least_survive(score: Any) -> None:  # T43: peers round to two decimals
    lines = score(cvalues_rows(12))
    digits = [
        len(re.sub(r"[-.]", "", str(one)).lstrip("0")) for line in lines for one in scores(line)
    ]
    assert max(digits) >= 7


CHOSEN, REJECTED = "Because it is so.", "No."
ORDERS: dict[str, dict[str, Any]] = {
    "cvalues": {"neg_resp": REJECTED, "prompt": "Why?", "pos_resp": CHOSEN},
    "trl": {"prompt": "Why?", "rejected": REJECTED, "chosen": CHOSEN},
    "trl messages": {
        "prompt": [USER],
        "rejected": [{"role": "assistant", "content": REJECTED}],
        "chosen": [{"role": "assistant", "content": CHOSEN}],
    },
    "hh": {
        "rejected": f"\n\nHuman: Why?\n\nAssistant: {REJECTED}",
        "chosen": f"\n\nHuman: Why?\n\nAssistant: {CHOSEN}",
    },
    "valued messages": {
        "messages": [
            {"role": "user", "value": "Why?"},
            {"role": "assistant", "rejected_value": REJECTED, "chosen_value": CHOSEN},
        ]
    },
    # The order is that of the row's names, whichever is the better one.
    "safe rlhf": {
        "response_1": REJECTED,
        "response_0": CHOSEN,
        "prompt": "Why?",
        "better_response_id": 1,
    },
    "responses": {"responses": [CHOSEN, REJECTED], "prompt": "Why?"},
}


@pytest.mark.parametrize("name", ORDERS)
def test_scores_stand_in_the_order_of_the_responses(score: Any, loud: Path, name: str) -> None:
    [line] = score([ORDERS[name]])
    texts = [chatml("Why?", answer) for answer in (CHOSEN, REJECTED)]
    assert scores(line) == pytest.approx([expected(loud, text) for text in texts], rel=2e-5)


def test_messages_score_their_last_turn_alone(score: Any, loud: Path) -> None:
    earlier = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Yes?"}]
    [line] = score([{"messages": [*earlier, USER, {"role": "assistant", "content": CHOSEN}]}])
    text = chatml("Hm?", "Yes?") + chatml("Why?", CHOSEN)
    assert scores(line) == pytest.approx([expected(loud, text)], rel=2e-5)


def test_text_is_read_verbatim(score: Any, loud: Path, tiny_tokenizer: Any) -> None:
    """No template, no special tokens added (T8), and written-out ones are what they say."""
    text = "<|im_start|>user\nhalf a turn"
    with ids_that_reach_the_model() as seen:
        [line] = score([{"text": text}])
    assert seen == [tuple(tiny_tokenizer(text, add_special_tokens=False)["input_ids"])]
    assert seen[0][0] == 1
    assert scores(line) == pytest.approx([expected(loud, text)], rel=2e-5)


def test_empty_answers_get_scores(score: Any, loud: Path) -> None:
    [line, paired] = score(
        [{"prompt": "Why?", "responses": [""]}, {"prompt": "Why?", "responses": [CHOSEN, ""]}]
    )
    assert scores(line) == pytest.approx([expected(loud, chatml("Why?", ""))], rel=2e-5)
    assert scores(paired)[1] == scores(line)[0]


def test_identical_answers_get_equal_bits(score: Any) -> None:
    rows = [{"prompt": "Why?", "responses": [CHOSEN, "x" * n, CHOSEN]} for n in range(1, 30)]
    with ids_that_reach_the_model() as seen:
        found = [scores(line) for line in score(rows)]
    assert {one for first, _, last in found for one in (first, last)} == {found[0][0]}
    # Larger models round by what stands beside a sequence: hence each is computed just once.
    assert len(seen) == len(set(seen))


def test_alone_equals_in_a_batch(score: Any) -> None:
    rows = [{"prompt": "Why?", "responses": ["so " * (n * 7 % 40), "x" * n]} for n in range(12)]
    together = [scores(line) for line in score(rows)]
    alone = [scores(score([row])[0]) for row in rows]
    # Only the order of float32 sums differs: see above.
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-3)


def test_python_gives_the_same_numbers(score: Any, loud: Path) -> None:
    from assay import RewardModel

    model = RewardModel.load(str(loud))
    answers = [CHOSEN, REJECTED, "", CHOSEN]
    [line] = score([{"prompt": "Why?", "responses": answers}])
    found = model.score("Why?", answers)
    assert found == scores(line)
    assert all(type(one) is float for one in found)
    assert model.score([USER], [{"role": "assistant", "content": one} for one in answers]) == found


def test_a_cut_keeps_the_end_of_the_response(  # T16
    score: Any, tiny_tokenizer: Any
) -> None:
    long, short = "why " * 60 + "?", "Why?"
    rows = [{"prompt": prompt, "responses": [CHOSEN]} for prompt in (long, short)]
    whole = {
        prompt: tuple(tiny_tokenizer(chatml(prompt, CHOSEN), add_special_tokens=False)["input_ids"])
        for prompt in (long, short)
    }
    limit = len(whole[short])
    assert limit < len(whole[long])
    with ids_that_reach_the_model() as seen:
        lines = [json.loads(line)["assay"] for line in score(rows, "--max-length", limit)]
    assert [line["truncated"] for line in lines] == [[True], [False]]
    assert [line["num_tokens"] for line in lines] == [[limit], [limit]]
    # Of a longer prompt the beginning is lost, behind the begin token; all of the response stays.
    assert set(seen) == {whole[short], (1, *whole[long][-limit + 1 :])}
    answer = tiny_tokenizer(f"{CHOSEN}<|im_end|>\n", add_special_tokens=False)["input_ids"]
    assert all(ids[-len(answer) :] == tuple(answer) for ids in seen)


def test_a_response_as_long_as_the_limit_is_read_whole(score: Any, tiny_tokenizer: Any) -> None:
    """The begin token has no place beside it; with one token more there is."""
    whole = tiny_tokenizer(chatml("Why?", CHOSEN), add_special_tokens=False)["input_ids"]
    answer = tiny_tokenizer(f"{CHOSEN}<|im_end|>\n", add_special_tokens=False)["input_ids"]
    assert whole[-len(answer) :] == answer
    rows = [{"prompt": "Why?", "responses": [CHOSEN]}]
    for more, expected in ((0, answer), (1, [1, *answer])):
        with ids_that_reach_the_model() as seen:
            score(rows, "--max-length", len(answer) + more)
        assert set(seen) == {tuple(expected)}


def test_a_cut_is_said_once_with_a_count(
    assay: Assay, loud: Path, write_rows: WriteRows, tmp_path: Path
) -> None:
    rows = write_rows([{"prompt": "why " * 60, "responses": ["a", "b"]}] * 3)
    flags = ("--output", tmp_path / "o.jsonl", "--max-length", 40)
    ran = assay("score", "--model", loud, "--input", rows, *flags)
    assert ran.err == "warning: 6 responses were read without the beginning of their prompt\n"
    hand = ("--prompt", "why " * 60, "--response", "a", "--max-length", 40)
    ran = assay("score", "--model", loud, *hand)
    assert ran.err == "warning: 1 response was read without the beginning of its prompt\n"


def test_sigmoid_is_added_and_replaces_nothing(score: Any) -> None:
    rows = cvalues_rows(6)
    plain = [json.loads(line) for line in score(rows)]
    with_sigmoid = [json.loads(line) for line in score(rows, "--transform", "sigmoid")]
    for before, after in zip(plain, with_sigmoid, strict=True):
        added = after["assay"].pop("sigmoid")
        assert after == before
        for raw, squashed in zip(before["assay"]["scores"], added, strict=True):
            # The logistic function in the form that cannot overflow for this sign.
            value = 1 / (1 + math.exp(-raw)) if raw > 0 else 1 - 1 / (1 + math.exp(raw))
            assert squashed == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_style_messages_writes_into_the_last_message(score: Any) -> None:
    row = ORDERS["valued messages"] | {"id": 7}
    [plain] = score([row])
    [line] = score([row], "--style", "messages")
    written = json.loads(line)
    assert list(written) == ["messages", "id"]
    assert written["messages"][:-1] == row["messages"][:-1]
    last = written["messages"][-1]
    assert [last.pop("chosen_score"), last.pop("rejected_score")] == scores(plain)
    assert last == row["messages"][-1]


def test_scores_that_a_row_holds_are_not_written_over(score: Any, tmp_path: Path) -> None:
    first = score(cvalues_rows(1))
    with pytest.raises(AssertionError, match="has a field 'assay' already, which would be lost"):
        score([json.loads(line) for line in first])


def test_stdin_to_a_file(assay: Assay, score: Any, loud: Path, tmp_path: Path) -> None:
    rows = cvalues_rows(3)
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    output = tmp_path / "new" / "folder" / "o.jsonl"
    ran = assay("score", "--model", loud, "--input", "-", "--output", output, stdin=data)
    assert (ran.code, ran.err) == (0, "")
    first, second = ran.out.splitlines()
    assert first == f"3 rows, 6 rewards: {output}"
    assert re.fullmatch(r"engine: tree, tokens: \d+, computed: \d+ \(\d+% saved\)", second)
    assert output.read_text(encoding="utf-8").splitlines() == score(rows)


def test_bad_rows_are_written_aside_and_the_others_scored(
    assay: Assay, score: Any, loud: Path, tmp_path: Path
) -> None:
    good = cvalues_rows(3)
    lines = [json.dumps(row, ensure_ascii=False) for row in good]
    file, output = tmp_path / "mixed.jsonl", tmp_path / "o.jsonl"
    bad = ['{"prompt": 5, "pos_resp": "a", "neg_resp": "b"}', "{oops"]
    file.write_text("\n".join([lines[0], bad[0], lines[1], bad[1], lines[2]]), encoding="utf-8")
    ran = assay(
        *("score", "--model", loud, "--input", file, "--output", output, "--on-bad-row", "skip")
    )
    assert ran.code == 0
    assert ran.out.startswith("3 rows, 6 rewards: ")
    aside = tmp_path / "o.jsonl.bad.jsonl"
    assert ran.err == f"warning: 2 bad rows were written to {aside}\n"
    assert output.read_text(encoding="utf-8").splitlines() == score(good)
    written = [json.loads(line) for line in aside.read_text(encoding="utf-8").splitlines()]
    assert [row["source"] for row in written] == [f"{file}:2", f"{file}:4"]
    assert [row["raw"] for row in written] == bad
    assert all(row["what"] and row["mend"] for row in written)


def test_limit_reads_so_many_rows(score: Any) -> None:
    assert score(cvalues_rows(5), "--limit", 2) == score(cvalues_rows(2))


def test_overwrite_replaces_and_leaves_nothing_beside(score: Any, tmp_path: Path) -> None:
    score(cvalues_rows(5))
    assert len(score(cvalues_rows(2))) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "scored.jsonl"]


def test_by_hand_prints_the_text_and_the_raw_reward(assay: Assay, score: Any, loud: Path) -> None:
    [line] = score([{"prompt": "Why?", "responses": [CHOSEN, REJECTED]}])
    hand = ("score", "--model", loud, "--prompt", "Why?", "--response", CHOSEN)
    ran = assay(*hand, "--response", REJECTED)
    first, second = scores(line)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"Sample:\n{chatml('Why?', CHOSEN)}\nreward score: [[{first}]]\n"
        f"Sample:\n{chatml('Why?', REJECTED)}\nreward score: [[{second}]]\n"
    )
    squashed = assay(*hand, "--transform", "sigmoid").out.splitlines()
    (told,) = [line for line in squashed if line.startswith("reward score: ")]
    # One answer less beside it: last bits may be others.
    assert float(told.removeprefix("reward score: [[").removesuffix("]]")) == pytest.approx(first)
    assert re.fullmatch(r"sigmoid: (0|1)(\.\d+)?(e-\d+)?", squashed[-1])


def test_an_adapter_and_a_foreign_model_score_too(
    assay: Assay, models: Models, loud: Path, tmp_path: Path
) -> None:
    hand = ("--prompt", "Why?", "--response", CHOSEN)
    ran = assay("score", "--model", models.adapter, *hand)
    assert (ran.code, ran.err) == (0, "")
    # A directory without our metadata is read by its own chat template, which is said once.
    foreign = tmp_path / "foreign"
    shutil.copytree(loud, foreign)
    (foreign / "assay.json").unlink()
    told = assay("score", "--model", foreign, *hand)
    assert told.out == assay("score", "--model", loud, *hand).out
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith("note: ")
    assert "its own chat template" in told.err


def test_another_template_is_warned_of(assay: Assay, loud: Path) -> None:
    hand = ("--prompt", "Why?", "--response", CHOSEN, "--template", "homework")
    ran = assay("score", "--model", loud, *hand)
    assert ran.code == 0
    assert ran.err.startswith("warning: ")
    assert "rewards are not comparable" in ran.err
    assert "BEGINNING OF CONVERSATION: USER: Why? ASSISTANT:" in ran.out


def test_render_score_eval_and_train_read_the_same_ids(  # T8, T10
    assay: Assay, models: Models, write_rows: WriteRows, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "Why?", "chosen": CHOSEN, "rejected": REJECTED},
        {"prompt": "深？ <|im_end|>", "chosen": " a\n", "rejected": ""},
    ]
    file = write_rows(rows)
    rendered = set()
    for number in (1, 2):
        out = assay("render", "--model", models.reward, "--input", file, "--row", number).out
        lines = out.splitlines()
        for at, line in enumerate(lines):
            if line == "--- ids ---":
                rendered.add(tuple(map(int, re.findall(r"\d+", lines[at + 1]))))
    assert len(rendered) == 4
    # Golden: of the first row, by the tokenizer itself on the text as it has to be.
    for answer in (CHOSEN, REJECTED):
        golden = tiny_tokenizer(chatml("Why?", answer), add_special_tokens=False)["input_ids"]
        assert tuple(golden) in rendered
        assert golden.count(1) == 2  # one begin token a turn, none added
    commands: dict[str, tuple[object, ...]] = {
        "score": ("--model", models.reward, "--input", file, "--output", tmp_path / "o.jsonl"),
        "eval": ("--model", models.reward, "--input", file),
        "train": (
            *("--model.path", models.base, "--data.train", file, "--output_dir", tmp_path / "run"),
            *("--train.max_length", 256, "--train.max_steps", 1),
            # Given, so that no probe of memory runs.
            *("--train.max_tokens_per_pack", 512),
        ),
    }
    for command, argv in commands.items():
        with ids_that_reach_the_model() as seen:
            ran = assay(command, *argv)
        assert ran.code == 0, ran.err
        assert set(seen) == rendered, command
