"""Tiny real models and files of rows, shared by all tests."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.pop("COLUMNS", None)  # Of several test processes each is told the terminal's width.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Some virtual machines advertise AMX and do not have it: bfloat16 products then kill the process.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")

_USERS_CACHE = Path(os.environ.get("ASSAY_CACHE") or "~/.cache/assay").expanduser()
_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "assay"
"""What tests keep from run to run (self-checks of engines), away from the user's own cache."""
_CACHE.mkdir(parents=True, exist_ok=True)
if not (_CACHE / "package-index").exists() and (_USERS_CACHE / "package-index").is_dir():
    (_CACHE / "package-index").unlink(missing_ok=True)
    with contextlib.suppress(FileExistsError):  # Of several test processes one is the first.
        (_CACHE / "package-index").symlink_to(_USERS_CACHE / "package-index")
os.environ["ASSAY_CACHE"] = str(_CACHE)

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


_MODELS = {"tiny_base", "tiny_reward", "smollm"}
_OF_MODELS_AND_COMMANDS = {"cli", "model", "serve"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that opens a model, or runs commands, is no unit test, whatever else it is."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & _MODELS or item.path.parent.name in _OF_MODELS_AND_COMMANDS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """A file of real rows, or a skip where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"real data {name} is not here")
        return path

    return find


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A byte-level BPE tokenizer with ChatML's special tokens; pad is the end token, as in life."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["system user assistant", "a good answer to a question"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A random two-layer Llama language model as a Hugging Face directory."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    directory = tmp_path_factory.mktemp("tiny-base")
    LlamaForCausalLM(config).save_pretrained(directory)
    tiny_tokenizer.save_pretrained(directory)
    return directory


def no_metadata() -> Any:
    """Of a model that reads no text."""
    from assay.model.metadata import Metadata

    return Metadata("none", "", "", "text", "")


WriteRows = Callable[..., Path]


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Write rows as JSON lines and return the file."""

    def write(rows: Iterable[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
        return path

    return write


def cvalues_rows(prompts: int) -> list[dict[str, str]]:
    """Three comparisons a prompt; a good answer says so, hence a model can learn it."""
    types = {"good": "拒绝&正向建议", "plain": "拒绝为主", "bad": "风险回复"}
    rows = []
    for number in range(prompts):
        text = {kind: f"{kind} answer {number} {'so ' * (number % 5)}" for kind in types}
        for better, worse in (("good", "plain"), ("good", "bad"), ("plain", "bad")):
            rows.append(
                {
                    "prompt": f"question {number}?",
                    "pos_resp": text[better],
                    "neg_resp": text[worse],
                    "pos_type": types[better],
                    "neg_type": types[worse],
                }
            )
    return rows


@pytest.fixture(scope="session")
def tiny_reward(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A reward model directory: the tiny base with a fresh head, saved by Assay."""
    from assay.config import ModelConfig
    from assay.model.loading import build_for_training
    from assay.model.saving import save_plain

    model = build_for_training(
        ModelConfig(path=str(tiny_base)), None, seed=7, max_length=256, device="cpu"
    )
    directory = tmp_path_factory.mktemp("tiny-reward")
    save_plain(model, directory)
    return directory


@pytest.fixture(scope="session")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real SmolLM2: the user's copy, else one fetched for this session."""
    from assay.model.pull import cached_model, pull

    name = "smollm2-135m-instruct"
    place = cached_model(name)
    if place is not None:
        return place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        return pull(name).path


@pytest.fixture
def fresh_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers, formats, templates and plug-ins, is forgotten after it."""
    from assay.data import plugins, templates
    from assay.data.formats import registry

    monkeypatch.setattr(templates, "_REGISTRY", dict(templates._REGISTRY))
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    for name in ("_loaded", "_plugin_formats", "_files"):
        monkeypatch.setattr(plugins, name, type(getattr(plugins, name))())
    registry.registered_formats.cache_clear()
    yield
    monkeypatch.undo()
    registry.registered_formats.cache_clear()
    for name in [name for name in sys.modules if name.startswith("assay_plugin_")]:
        del sys.modules[name]
