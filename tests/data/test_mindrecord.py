"""MindRecord files: the seven fields by hand, and as MindSpore itself reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.mindrecord import (
    IDENTICAL,
    MAX_DROPPED,
    PADDING,
    REFUSED,
    SCHEMA,
    MindRecordSummary,
    convert_to_mindrecord,
    padding_of,
    padding_told,
    plain_renderer,
    sample_of,
    show_sample,
)
from assay.data.sources import DataSource
from assay.data.writers.converting import ConvertOptions
from assay.errors import ConfigError, DataError, OutputError

WriteRows = Callable[..., Path]

TEXT = "根据以下问题，写一个合适的回答。\n\n### 问题：\n{}\n\n### 回答：\n{}"
LENGTH = 60
PAD = 3


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """One token a character, and one that begins every text unless it is told not to."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    characters = sorted(set(TEXT + "怎么撬锁开好坏不的人 abc"))
    names = ["<s>", "</s>", "<unk>", "<pad>", *characters]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )


@pytest.fixture
def mindspore_dataset() -> Any:
    pytest.importorskip("mindspore", reason="MindSpore is not installed: assay[mindrecord]")
    import mindspore.dataset

    return mindspore.dataset


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """By hand: the number of each character."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[character] for character in text]


def convert(
    tokenizer: Any, rows: Path, output: Path, template: str = "cvalues-zh", **more: Any
) -> MindRecordSummary:
    options = ConvertOptions(
        on_bad_row=more.pop("on_bad_row", "error"), overwrite=more.pop("overwrite", False)
    )
    return convert_to_mindrecord(
        [DataSource(str(rows))],
        plain_renderer(tokenizer, template),
        output,
        options,
        **({"seq_length": LENGTH, "pad_token_id": PAD, "max_dropped": 1.0} | more),
    )


def test_the_seven_fields_by_hand() -> None:
    sample = sample_of((5, 6, 7, 8), (5, 6, 9), 7, 0)
    assert {key: np.asarray(value).tolist() for key, value in sample.items()} == {
        "chosen_input_ids": [5, 6, 7, 8, 0, 0, 0],
        "chosen_attention_mask": [1, 1, 1, 1, 0, 0, 0],
        "rejected_input_ids": [5, 6, 9, 0, 0, 0, 0],
        "rejected_attention_mask": [1, 1, 1, 0, 0, 0, 0],
        "position_id": [0, 1, 2, 3, 4, 5, 6],
        "loss_mask": [0, 0, 1, 1, 0, 0, 0],
        "end_ind": 4,
    }
    assert list(sample) == list(SCHEMA)
    assert all(sample[key].dtype == np.int32 for key in list(SCHEMA)[:6])


def test_where_one_answer_goes_on_the_first_difference_is_padding() -> None:
    sample = sample_of((5, 6), (5, 6, 9, 9), 4, 0)
    assert sample["loss_mask"].tolist() == [0, 0, 1, 1]
    assert sample["end_ind"] == 4


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
)
def test_the_mask_is_the_span_in_which_the_pair_differs(a: list[int], b: list[int]) -> None:
    if a == b:
        with pytest.raises(ValueError, match="the same"):
            sample_of(tuple(a), tuple(b), 6, 0)
        return
    sample = sample_of(tuple(a), tuple(b), 6, 0)
    first = next(i for i in range(6) if a[i : i + 1] != b[i : i + 1])
    end = max(len(a), len(b))
    assert sample["loss_mask"].tolist() == [int(first <= i < end) for i in range(6)]
    assert sample["end_ind"] == end
    for name, ids in (("chosen", a), ("rejected", b)):
        # What RewardModelDataset computes as the end of each sequence.
        assert (sample[f"{name}_input_ids"] != 0).sum() == len(ids)
        assert sample[f"{name}_attention_mask"].sum() == len(ids)


def test_nothing_is_added_to_the_template_and_texts_are_stripped(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    assert tokenizer("a")["input_ids"] == [0, *ids_of(tokenizer, "a"), 1]
    rows = write_rows([{"prompt": " 怎么撬锁\n", "pos_resp": "不好 ", "neg_resp": "\n开锁的人"}])
    sample = convert(tokenizer, rows, tmp_path / "x.mindrecord").sample
    better = ids_of(tokenizer, TEXT.format("怎么撬锁", "不好"))
    worse = ids_of(tokenizer, TEXT.format("怎么撬锁", "开锁的人"))
    shared = len(TEXT.format("怎么撬锁", ""))
    assert sample["chosen_input_ids"].tolist() == better + [PAD] * (LENGTH - len(better))
    assert sample["rejected_input_ids"].tolist() == worse + [PAD] * (LENGTH - len(worse))
    assert sample["end_ind"] == len(worse) == shared + 4
    span = np.flatnonzero(sample["loss_mask"])
    assert (span[0], span[-1], len(span)) == (shared, shared + 3, 4)


def test_trl_rows_are_stripped_too(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    rows = write_rows([{"prompt": " a", "chosen": "b ", "rejected": "\nc"}])
    sample = convert(tokenizer, rows, tmp_path / "x.mindrecord").sample
    text = ids_of(tokenizer, TEXT.format("a", "b"))
    assert sample["chosen_input_ids"][: len(text) + 1].tolist() == [*text, PAD]


def test_every_row_is_written_or_has_its_reason(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    def row(chosen: str, rejected: str, prompt: Any = "a", **more: Any) -> dict[str, Any]:
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected} | more

    room = LENGTH - len(TEXT.format("a", ""))
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    rows = write_rows(
        [
            row("b", "c", margin=2.0),
            row("b" * room, "c"),
            row("b" * (room + 1), "c"),
            row("b", "b "),
            row("b", "c", prompt=turns),
        ]
    )
    output = tmp_path / "x.mindrecord"
    account = convert(tokenizer, rows, output).account
    assert (account.rows_read, account.rows, account.comparisons) == (5, 2, 2)
    assert dict(account.left_out) == {f"over {LENGTH} tokens": 1, IDENTICAL: 1, REFUSED: 1}
    assert dict(account.lost) == {"margin": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "rows.jsonl",
        "x.mindrecord",
        "x.mindrecord.db",
    ]


def test_the_padding_token_inside_a_text_would_move_its_end(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    [inside] = ids_of(tokenizer, "b")
    rows = write_rows([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2)
    output = tmp_path / "x.mindrecord"
    with pytest.raises(DataError, match="give another --pad-token-id"):
        convert(tokenizer, rows, output, pad_token_id=inside)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    assert PADDING.startswith("padding token")


def test_ties_and_bad_rows(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    def group(outcome: str) -> dict[str, Any]:
        return {
            "assay_group": 1,
            "prompt": [{"role": "user", "content": "a"}],
            "responses": [{"messages": [{"role": "assistant", "content": c}]} for c in "bc"],
            "comparisons": [{"a": 0, "b": 1, "outcome": outcome}],
        }

    rows = write_rows([group("tie"), group("b"), {"assay_group": 1}])
    output = tmp_path / "x.mindrecord"
    with pytest.raises(DataError, match="1 bad row"):
        convert(tokenizer, rows, output)
    assert not list(tmp_path.glob("*x.mindrecord*"))
    account = convert(tokenizer, rows, output, on_bad_row="skip").account
    assert (account.rows, dict(account.left_out), len(account.bad_rows)) == (1, {"tie": 1}, 1)
    aside = json.loads((tmp_path / "x.mindrecord.bad.jsonl").read_text(encoding="utf-8"))
    assert aside["source"].endswith("rows.jsonl:3")


def test_the_output_is_never_lost(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    rows = write_rows([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with pytest.raises(ConfigError, match=r"name it x\.mindrecord"):
        convert(tokenizer, rows, tmp_path / "x.mr")
    output = tmp_path / "made" / "x.mindrecord"
    convert(tokenizer, rows, output)
    with pytest.raises(OutputError, match="is there already"):
        convert(tokenizer, rows, output)
    convert(tokenizer, rows, output, overwrite=True)
    data = mindspore_dataset.MindDataset(str(output))
    assert data.get_dataset_size() == 1


def test_mindspore_reads_batches_as_reward_models_take_them(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    """The columns, then the assembly that RewardModelDataset makes of a batch."""
    answers = ["a", "ab", "abc", "b", "bc", "cab", "c"]
    rows = write_rows(
        [{"prompt": "怎么", "pos_resp": answer, "neg_resp": "坏" * 4} for answer in answers]
    )
    output = tmp_path / "x.mindrecord"
    convert(tokenizer, rows, output)
    data = mindspore_dataset.MindDataset(str(output), columns_list=list(SCHEMA), shuffle=False)
    assert data.get_dataset_size() == len(answers)
    data = data.batch(3, drop_remainder=True)
    batches = list(data.create_dict_iterator(num_epochs=1, output_numpy=True))
    assert len(batches) == 2
    shared = len(TEXT.format("怎么", ""))
    for number, batch in enumerate(batches):
        for name in list(SCHEMA)[:6]:
            assert (batch[name].shape, batch[name].dtype) == ((3, LENGTH), np.int32)
        assert (batch["end_ind"].shape, batch["end_ind"].dtype) == ((3,), np.int64)
        both = np.concatenate([batch["chosen_input_ids"], batch["rejected_input_ids"]])
        assert both.shape == (6, LENGTH)
        ends = (both != PAD).sum(axis=1)
        own = answers[3 * number : 3 * number + 3]
        assert ends.tolist() == [shared + len(answer) for answer in own] + [shared + 4] * 3
        assert np.maximum(ends[:3], ends[3:]).tolist() == batch["end_ind"].tolist()
        assert batch["loss_mask"].sum(axis=1).tolist() == [4, 4, 4]
        assert (batch["position_id"] == np.arange(LENGTH)).all()
        for row, answer in enumerate(own):
            ids = ids_of(tokenizer, TEXT.format("怎么", answer))
            assert both[row, : len(ids)].tolist() == ids


def test_padding_of_a_tokenizer(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="assay"):
        assert padding_of(tokenizer, None) == PAD
        assert not caplog.records
        assert padding_of(tokenizer, 1) == 1
    (record,) = caplog.records
    assert record.getMessage().startswith("padding is the end token 1: pairs whose texts hold it")
    size = len(tokenizer)
    assert padding_of(tokenizer, size - 1) == size - 1
    with pytest.raises(
        ConfigError, match=f"padding token {size} is not in the vocabulary of {size} tokens"
    ) as caught:
        padding_of(tokenizer, size)
    assert caught.value.mend == f"give one from 0 to {size - 1} that no text holds"
    assert padding_told(tokenizer, PAD) == ("padding", "'<pad>'", "3")
    assert padding_told(tokenizer, 1) == ("padding", "'</s>', the end token", "1")
    assert padding_told(tokenizer, 2) == ("padding", "'<unk>', as given", "2")


def test_too_much_left_out(
    tokenizer: Any, write_rows: WriteRows, tmp_path: Path, mindspore_dataset: Any
) -> None:
    good = [{"prompt": "a", "chosen": "b", "rejected": answer} for answer in "c人开锁" * 5]
    rows = write_rows([*good[:19], {"prompt": "a", "chosen": "b", "rejected": "b"}])
    output = tmp_path / "x.mindrecord"
    with pytest.raises(
        DataError, match=r"1 of 20 comparisons would be left out \(5.0%, more than "
    ):
        convert(tokenizer, rows, output, max_dropped=0.049)
    assert not list(tmp_path.glob("*x.mindrecord*"))
    assert convert(tokenizer, rows, output, max_dropped=0.05).account.rows == 19
    assert MAX_DROPPED == 0.05


def test_one_sample_is_shown(tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    better, worse = (tuple(ids_of(tokenizer, text)) for text in ("ab", "acc"))
    show_sample(sample_of(better, worse, 5, PAD), tokenizer)
    assert capsys.readouterr().out.splitlines() == [
        "--- chosen: 2 tokens, 3 of padding ---",
        " ".join(map(str, better)),
        "a b",
        "--- rejected: 3 tokens, 2 of padding ---",
        " ".join(map(str, worse)),
        "a c c",
        "--- loss_mask: 1 from token 1 to 2; end_ind: 3 ---",
    ]
