"""What stands on disk after saving, and what comes back: whole models, adapters, heads, padding."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import assay
from assay.config import LoraConfig, ModelConfig
from assay.data.rendering import TokenIds
from assay.errors import AssayError, ConfigError, ModelError
from assay.model.loading import build_for_training, load_reward_model
from assay.model.metadata import METADATA_FILE, Metadata
from assay.model.reward_model import RewardModel
from assay.model.rewards import rewards_of_sequences, score_sequences
from assay.model.saving import save_adapter, save_plain

WIDTH = 32
SEQUENCES: list[TokenIds] = [(5, 6, 7), (9,), tuple(range(40, 60)), (1, 5, 2, 1, 9, 2, 77), (5, 6)]
LORA = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])


def build(
    path: Path, lora: LoraConfig | None = None, *, seed: int = 7, **model: Any
) -> RewardModel:
    return build_for_training(
        ModelConfig(path=str(path), **model), lora, seed=seed, max_length=64, device="cpu"
    )


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """What is said to the user, also after a test that ran the command line in this process."""
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.INFO, logger="assay")
    return caplog


def one_step(model: RewardModel) -> None:
    """A real step of AdamW on all that is trained, large enough to be seen."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for _ in range(2):  # LoRA's A has no gradient while B is still zero.
        optimizer.zero_grad()
        rewards = rewards_of_sequences(model, SEQUENCES, max_tokens=100)
        torch.nn.functional.softplus(rewards[1:] - rewards[0]).sum().backward()
        optimizer.step()


def scores(model: RewardModel) -> list[float]:
    return score_sequences(model, SEQUENCES)


def head_of(model: RewardModel) -> Tensor:
    assert model.head_weight is not None
    return model.head_weight.detach().clone()


def saved(model: RewardModel, directory: Path, **options: Any) -> Path:
    directory.mkdir()
    save_plain(model, directory, **options)
    return directory


def copy_with(
    directory: Path, target: Path, *, weights: dict[str, Tensor] | None = None, **config: Any
) -> Path:
    """A copy of a model or adapter directory with other weights or other configuration values."""
    shutil.copytree(directory, target)
    name = "adapter_model" if (target / "adapter_config.json").exists() else "model"
    if weights is not None:
        save_file(weights, target / f"{name}.safetensors", metadata={"format": "pt"})
    if config:
        path = target / ("adapter_config.json" if name == "adapter_model" else "config.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


# The plain directory


def test_the_plain_directory_is_the_stock_class_and_nothing_else(
    tiny_base: Path, tiny_reward: Path
) -> None:
    # T26, T31.
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

    stock, report = AutoModelForSequenceClassification.from_pretrained(
        tiny_reward, output_loading_info=True
    )
    assert type(stock) is LlamaForSequenceClassification
    assert not any(report.values()), report
    fresh = LlamaForSequenceClassification(stock.config)
    on_disk = load_file(tiny_reward / "model.safetensors")
    assert {k: v.shape for k, v in on_disk.items()} == {
        k: v.shape for k, v in fresh.state_dict().items()
    }
    assert on_disk["score.weight"].shape == (1, WIDTH)
    assert {v.dtype for v in on_disk.values()} == {torch.float32}
    base = load_file(tiny_base / "model.safetensors")
    assert all(torch.equal(base[k], v) for k, v in on_disk.items() if k != "score.weight")
    config = json.loads((tiny_reward / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["problem_type"] == "regression"
    assert stock.config.num_labels == 1
    assert not list(tiny_reward.glob("*.bin"))


def test_transformers_alone_gives_the_same_rewards(tiny_reward: Path) -> None:
    # T31.
    from transformers import AutoModelForSequenceClassification

    stock = AutoModelForSequenceClassification.from_pretrained(tiny_reward).eval()
    with torch.no_grad():
        theirs = [float(stock(input_ids=torch.tensor([ids])).logits) for ids in SEQUENCES]
    # float32, rewards of about 1, two small layers: some tens of roundings of 6e-8.
    assert scores(load_reward_model(str(tiny_reward))) == pytest.approx(theirs, abs=1e-5)


def test_padding_is_a_token_that_no_text_ends_with(tiny_base: Path, tiny_reward: Path) -> None:
    # T1, T7: the base pads with its end token, as SmolLM2 does.
    from transformers import AutoTokenizer

    base = json.loads((tiny_base / "config.json").read_text())
    assert base["pad_token_id"] == base["eos_token_id"] == 2
    config = json.loads((tiny_reward / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tiny_reward)
    assert tokenizer.pad_token == "<|endoftext|>"
    assert config["pad_token_id"] == tokenizer.pad_token_id == 0
    assert len(tokenizer) <= config["vocab_size"], "no row was added"
    assert config["vocab_size"] == base["vocab_size"]


def test_template_and_metadata_are_stored(tiny_base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = build(tiny_base, template="cvalues-zh", special_tokens_in_content="error")
    directory = saved(model, tmp_path / "m")
    jinja = model.renderer.template.jinja
    assert "eos_token" in jinja
    assert AutoTokenizer.from_pretrained(directory).chat_template == jinja
    metadata = Metadata.read(directory)
    assert metadata == model.metadata
    assert metadata is not None
    assert metadata.template == jinja
    assert metadata.template_hash == model.renderer.template.hash
    assert metadata.special_tokens_in_content == "error"
    assert metadata.base == str(tiny_base)
    assert (metadata.max_length, metadata.assay_version) == (64, assay.__version__)
    again = load_reward_model(str(directory))
    assert again.renderer.template.jinja == jinja
    assert again.renderer.special_tokens == "error"
    assert again.score("问", ["答", "不答"]) == model.score("问", ["答", "不答"])


def test_a_run_in_bfloat16_saves_bfloat16_and_keeps_its_master_weights(
    tiny_base: Path, tmp_path: Path
) -> None:
    model = build(tiny_base)
    one_step(model)
    before, config_dtype = scores(model), model.classifier.config.dtype
    directory = saved(model, tmp_path / "m", dtype=torch.bfloat16)
    on_disk = load_file(directory / "model.safetensors")
    held = model.classifier.state_dict()
    assert {v.dtype for v in on_disk.values()} == {torch.bfloat16}
    assert all(torch.equal(held[k].bfloat16(), v) for k, v in on_disk.items())
    assert json.loads((directory / "config.json").read_text())["dtype"] == "bfloat16"
    assert scores(model) == before
    assert model.classifier.config.dtype == config_dtype
    assert all(p.dtype == torch.float32 for p in model.parameters())
    # On a CPU it is read as float32: exactly the rounded weights, computed without more rounding.
    again = load_reward_model(str(directory))
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.equal(head_of(again), head_of(model).bfloat16().float())


# The head


def test_the_head_is_drawn_from_the_seed_at_the_stated_scale(tiny_base: Path) -> None:
    # T27, T49. The head of 32 numbers is N(0, 1/33): its standard deviation lies within 4 standard
    # errors, sigma / sqrt(2 * 32) each, of 1 / sqrt(33) = 0.174.
    torch.manual_seed(1)
    head = head_of(build(tiny_base))
    torch.manual_seed(2)
    assert torch.equal(head, head_of(build(tiny_base)))
    assert not torch.equal(head, head_of(build(tiny_base, seed=8)))
    assert torch.equal(head, head_of(build(tiny_base, LORA, dtype="bfloat16")))
    sigma = (WIDTH + 1) ** -0.5
    assert float(head.std()) == pytest.approx(sigma, abs=4 * sigma / (2 * WIDTH) ** 0.5)
    assert head.shape == (1, WIDTH)


def test_one_seed_gives_one_set_of_adapters(tiny_base: Path) -> None:
    # T49.
    torch.manual_seed(1)
    first = build(tiny_base, LORA).state_dict()
    torch.manual_seed(2)
    second = build(tiny_base, LORA).state_dict()
    other = build(tiny_base, LORA, seed=8).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first if "lora_A" in key)


def test_a_head_that_is_there_is_kept(tiny_reward: Path, said: pytest.LogCaptureFixture) -> None:
    # T24.
    before = load_reward_model(str(tiny_reward))
    for lora in (None, LORA):
        model = build(tiny_reward, lora, seed=99)
        assert torch.equal(head_of(model), head_of(before))
        assert scores(model) == scores(before)
    assert sum("keeping the reward head" in message for message in said.messages) == 2


def test_a_language_model_cannot_score(tiny_base: Path) -> None:
    # T25.
    with pytest.raises(ModelError, match="no reward head in its files"):
        load_reward_model(str(tiny_base))


@pytest.mark.parametrize("use", [load_reward_model, lambda path: build(Path(path))])
def test_a_classifier_with_two_labels_is_refused(
    use: Callable[[str], RewardModel], tiny_reward: Path, tmp_path: Path
) -> None:
    # T26: also where the configuration says so only by being silent (transformers' default is 2).
    weights = load_file(tiny_reward / "model.safetensors")
    weights["score.weight"] = torch.zeros(2, WIDTH)
    two = copy_with(tiny_reward, tmp_path / "two", weights=weights, id2label=None, label2id=None)
    with pytest.raises(ModelError, match="2 labels"):
        use(str(two))


# What is damaged is named


def test_a_missing_weight_is_named(tiny_reward: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_reward / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    broken = copy_with(tiny_reward, tmp_path / "m", weights=weights)
    with pytest.raises(ModelError, match=r"missing.*: model\.layers\.1\.mlp\.up_proj\.weight"):
        load_reward_model(str(broken))


def test_a_missing_head_of_a_reward_model_is_no_fresh_one(
    tiny_reward: Path, tmp_path: Path
) -> None:
    # T25.
    weights = load_file(tiny_reward / "model.safetensors")
    del weights["score.weight"]
    broken = copy_with(tiny_reward, tmp_path / "m", weights=weights)
    with pytest.raises(ModelError, match="no reward head"):
        load_reward_model(str(broken))


def test_a_weight_of_the_wrong_shape_is_named(tiny_reward: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_reward / "model.safetensors")
    weights["model.norm.weight"] = torch.zeros(3)
    broken = copy_with(tiny_reward, tmp_path / "m", weights=weights)
    with pytest.raises(ModelError, match=r"model\.norm\.weight is \[3\], not \[32\]"):
        load_reward_model(str(broken))


def test_weights_without_a_place_are_said(
    tiny_reward: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    load_reward_model(str(tiny_reward))
    assert "no place" not in said.text
    load_reward_model(str(copy_with(tiny_reward, tmp_path / "m", num_hidden_layers=1)))
    assert "9 weights in its files have no place in the model (model.layers.1." in said.text


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def edited(config: Path, **fields: object) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))


def lose_a_shard(directory: Path) -> None:
    """As a download that broke off leaves it."""
    weights = load_file(directory / "model.safetensors")
    files = [f"model-{number}-of-00002.safetensors" for number in ("00001", "00002")]
    places = {name: files["layers.1" in name] for name in weights}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    first = {name: tensor for name, tensor in weights.items() if places[name] == files[0]}
    save_file(first, directory / files[0], metadata={"format": "pt"})
    (directory / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: truncate(d / "model.safetensors"), "weights cannot be read"),
        (lambda d: (d / "model.safetensors").write_bytes(b""), "weights cannot be read"),
        (lambda d: (d / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda d: (d / "config.json").write_text("{"), "config.json cannot be read"),
        (
            lambda d: (d / "config.json").write_text(
                '{"model_type": "llama", "hidden_size": "wide"}'
            ),
            "config.json cannot be read",
        ),
        (
            lambda d: (d / "config.json").write_text('{"model_type": "none"}'),
            "has no architecture 'none'.* register its classes in a plug-in",
        ),
        (  # What a program that is not installed here would have written.
            lambda d: edited(
                d / "config.json", quantization_config={"quant_method": "gptq", "bits": 4}
            ),
            "its weights need another package.* take the model that is not quantised",
        ),
        (lose_a_shard, "cannot be loaded .*00002-of-00002.*; fetch the model again"),
        (lambda d: edited(d / "config.json", num_attention_heads=0), "config.json cannot be read"),
        (
            lambda d: edited(d / "config.json", pad_token_id=5000),
            "cannot be loaded as a sequence classifier .*Padding_idx",
        ),
        (lambda d: (d / "tokenizer.json").write_text("{"), "no readable tokenizer"),
        (lambda d: (d / METADATA_FILE).write_text("[]"), "not readable metadata"),
        (lambda d: (d / METADATA_FILE).write_bytes(b"\xff"), "not readable metadata"),
    ],
)
def test_a_damaged_file_is_one_clear_error(
    spoil: Callable[[Path], None], says: str, tiny_reward: Path, tmp_path: Path
) -> None:
    broken = copy_with(tiny_reward, tmp_path / "m")
    spoil(broken)
    with pytest.raises(AssayError, match=says) as caught:
        load_reward_model(str(broken))
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)


# Adapters


@pytest.fixture(scope="module")
def trained_lora(tiny_base: Path) -> RewardModel:
    model = build(tiny_base, LORA)
    one_step(model)
    return model.eval()


@pytest.fixture(scope="module")
def adapter(trained_lora: RewardModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("adapter")
    save_adapter(trained_lora, directory)
    return directory


def test_lora_trains_adapters_and_head_and_nothing_else(
    tiny_base: Path, trained_lora: RewardModel
) -> None:
    # T23.
    untrained = build(tiny_base, LORA)
    before, after = untrained.state_dict(), trained_lora.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    kinds = {
        "head" if "score.modules_to_save" in key else "lora" if "lora_" in key else key
        for key in changed
    }
    assert kinds == {"head", "lora"}
    assert all(key in changed for key in before if "lora_" in key)
    trained = {name for name, p in trained_lora.named_parameters() if p.requires_grad}
    assert trained == changed
    assert "lora" not in type(trained_lora.classifier.score).__name__.lower()


def test_all_linear_leaves_the_head_whole(tiny_base: Path) -> None:
    # T23: TRL's all-linear put a low-rank adapter on the head instead of training it.
    model = build(tiny_base, LoraConfig(r=2))
    names = [name for name, p in model.named_parameters() if p.requires_grad and "score" in name]
    assert len(names) == 1
    assert "modules_to_save" in names[0]
    adapted = {name.rsplit(".", 2)[0] for name, _ in model.named_modules() if "lora_A." in name}
    assert len(adapted) == 2 * 7, "all seven linear layers of both blocks"


def test_lora_starts_at_the_base_models_rewards(tiny_base: Path) -> None:
    """B is zero at the start: the same head on the same backbone."""
    assert scores(build(tiny_base, LORA).eval()) == scores(build(tiny_base).eval())


IN_A_NEW_PROCESS = """
import json, sys
import torch
from peft import AutoPeftModelForSequenceClassification
from assay import RewardModel
from assay.model.rewards import score_sequences

torch.set_num_threads(1)
adapter, merged, sequences = json.loads(sys.argv[1])
stock = AutoPeftModelForSequenceClassification.from_pretrained(adapter, num_labels=1).eval()
with torch.no_grad():
    theirs = [float(stock(input_ids=torch.tensor([ids])).logits) for ids in sequences]
ours = [
    score_sequences(RewardModel.load(path), [tuple(ids) for ids in sequences])
    for path in (adapter, merged)
]
print(json.dumps([*ours, theirs]))
"""


def test_a_new_process_reads_the_adapter_bit_for_bit(
    trained_lora: RewardModel, adapter: Path, tmp_path: Path
) -> None:
    """T23: ours, ours merged, and peft's own loader, in a process that never saw the training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = scores(trained_lora)
    finally:
        torch.set_num_threads(threads)
    merged = saved(trained_lora, tmp_path / "merged")
    argument = json.dumps([str(adapter), str(merged), SEQUENCES])
    done = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, argument],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    as_adapter, as_merged, by_peft = json.loads(done.stdout.splitlines()[-1])
    assert as_adapter == expected
    # Merging rounds W + BA to float32 once; other roundings as between any two ways to compute.
    assert as_merged == pytest.approx(expected, abs=1e-5)
    assert by_peft == pytest.approx(expected, abs=1e-5)


def test_merging_leaves_the_model_in_memory_as_it_was(
    trained_lora: RewardModel, tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in trained_lora.state_dict().items()}
    merged = saved(trained_lora, tmp_path / "merged")
    after = trained_lora.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    on_disk = load_file(merged / "model.safetensors")
    assert not any("lora" in key or "modules_to_save" in key for key in on_disk)
    assert torch.equal(on_disk["score.weight"], head_of(trained_lora))
    assert (
        json.loads((merged / "config.json").read_text())["architectures"][0]
        == "LlamaForSequenceClassification"
    )


def test_a_bfloat16_lora_merges_to_one_dtype(tiny_base: Path, tmp_path: Path) -> None:
    """Frozen backbone in bfloat16, adapters and head in float32: `model/` has one dtype."""
    model = build(tiny_base, LORA, dtype="bfloat16")
    one_step(model)
    held = {name: p.dtype for name, p in model.named_parameters()}
    assert {d for n, d in held.items() if "lora_" in n or "modules_to_save" in n} == {torch.float32}
    merged = saved(model, tmp_path / "merged", dtype=torch.bfloat16)
    assert {v.dtype for v in load_file(merged / "model.safetensors").values()} == {torch.bfloat16}
    (tmp_path / "adapter").mkdir()
    save_adapter(model, tmp_path / "adapter")
    on_disk = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {v.dtype for v in on_disk.values()} == {torch.float32}


def test_a_moved_base_is_named_with_base(
    adapter: Path, trained_lora: RewardModel, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_base, tmp_path / "moved")
    lost = copy_with(adapter, tmp_path / "a", base_model_name_or_path=str(tmp_path / "gone"))
    with pytest.raises(ModelError, match=r"no longer at .*gone; give its new place with --base"):
        load_reward_model(str(lost))
    found = load_reward_model(str(lost), base=str(tmp_path / "moved"))
    assert scores(found) == scores(trained_lora)


def test_an_adapter_that_names_no_base_asks_for_one(adapter: Path, tmp_path: Path) -> None:
    nameless = copy_with(adapter, tmp_path / "a", base_model_name_or_path=None)
    with pytest.raises(ModelError, match="give --base"):
        load_reward_model(str(nameless))


def test_an_adapter_without_a_head_is_refused(adapter: Path, tmp_path: Path) -> None:
    # T23, T25.
    weights = load_file(adapter / "adapter_model.safetensors")
    headless = {key: value for key, value in weights.items() if "score" not in key}
    assert len(headless) == len(weights) - 1
    with pytest.raises(ModelError, match="the adapter holds no reward head"):
        load_reward_model(str(copy_with(adapter, tmp_path / "a", weights=headless)))


def test_an_adapter_that_lacks_a_weight_is_refused(adapter: Path, tmp_path: Path) -> None:
    """Peft only warns, and scores with a random or zero matrix in its place."""
    weights = load_file(adapter / "adapter_model.safetensors")
    lost = next(key for key in weights if "lora_B" in key)
    del weights[lost]
    with pytest.raises(ModelError, match="do not fit") as caught:
        load_reward_model(str(copy_with(adapter, tmp_path / "a", weights=weights)))
    assert lost in str(caught.value)


def test_an_adapter_of_a_deeper_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    """Peft ignores what it has no place for."""
    weights = load_file(adapter / "adapter_model.safetensors")
    extra = {k.replace("layers.1", "layers.2"): v.clone() for k, v in weights.items()}
    with pytest.raises(ModelError, match=r"layers\.2"):
        load_reward_model(str(copy_with(adapter, tmp_path / "a", weights=weights | extra)))


def test_an_adapter_on_the_wrong_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    narrow = LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(narrow).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ModelError, match="does not fit"):
        load_reward_model(str(adapter), base=str(tmp_path / "narrow"))


def test_a_torn_adapter_is_one_clear_error(adapter: Path, tmp_path: Path) -> None:
    broken = copy_with(adapter, tmp_path / "a")
    truncate(broken / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"no readable adapter_model\.safetensors"):
        load_reward_model(str(broken))
    (broken / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no readable adapter_model\.safetensors"):
        load_reward_model(str(broken))


def test_an_adapter_of_virtual_tokens_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    # Computed without its tokens, as any engine would, its rewards would be those of the base.
    from peft import PromptTuningConfig, TaskType, get_peft_model

    from assay.model.classifier import quiet_transformers

    config = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=3)
    with quiet_transformers():
        tuned = get_peft_model(build(tiny_base).classifier, config)
    tuned.save_pretrained(tmp_path / "tuned")
    with pytest.raises(ModelError, match="virtual tokens"):
        load_reward_model(str(tmp_path / "tuned"), base=str(tiny_base))


def test_training_does_not_start_from_an_adapter(adapter: Path) -> None:
    with pytest.raises(ModelError, match="is an adapter"):
        build(adapter)


def test_lora_on_layers_that_are_not_there_is_a_recipe_error(tiny_base: Path) -> None:
    with pytest.raises(ConfigError, match="LoRA cannot be added"):
        build(tiny_base, LoraConfig(target_modules=["no_such_layer"]))


# Families whose head is not one linear layer


HEADS = {"Bert": "pooler", "DistilBert": "pre_classifier"}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's own.
def test_an_adapter_finds_its_base_from_everywhere(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import AutoPeftModelForSequenceClassification

    monkeypatch.chdir(tiny_base.parent)
    save_adapter(build(Path(tiny_base.name), LORA), tmp_path / "adapter")
    monkeypatch.chdir(tmp_path)
    written = json.loads((tmp_path / "adapter/adapter_config.json").read_text(encoding="utf-8"))
    assert written["base_model_name_or_path"] == str(tiny_base.resolve())
    assert sorted(written["modules_to_save"]) == ["classifier", "score"]
    AutoPeftModelForSequenceClassification.from_pretrained(str(tmp_path / "adapter"), num_labels=1)


def test_a_base_that_is_gone_is_asked_for(tiny_base: Path, tmp_path: Path) -> None:
    save_adapter(build(tiny_base, LORA), tmp_path)
    path = tmp_path / "adapter_config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(written | {"base_model_name_or_path": "gone"}), encoding="utf-8")
    with pytest.raises(ModelError, match="base model 'gone' is not found") as caught:
        load_reward_model(str(tmp_path), device="cpu")
    assert caught.value.mend == "give its place with --base"


@pytest.mark.parametrize("lora", [None, LoraConfig(r=2)])
@pytest.mark.parametrize("family", ["Bert", "DistilBert"])
def test_an_encoder_keeps_its_own_head_and_comes_back_whole(
    family: str, lora: LoraConfig | None, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """A masked language model has no pooler, and none of DistilBert's `pre_classifier`.

    Both are then drawn, trained whole (with LoRA, too) and saved.
    """
    import transformers

    small = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    distil = {"vocab_size": 300, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
    heads = {"num_attention_heads": 4}
    config = getattr(transformers, f"{family}Config")(
        **(small | heads if family == "Bert" else distil), initializer_range=0.3
    )
    base = tmp_path / "base"
    getattr(transformers, f"{family}ForMaskedLM")(config).save_pretrained(base)
    tiny_tokenizer.save_pretrained(base)
    model = build(base, lora)
    drawn, again = (
        {key: value for key, value in m.state_dict().items() if HEADS[family] in key}
        for m in (model, build(base, lora))
    )
    assert drawn
    assert all(torch.equal(drawn[key], again[key]) for key in drawn), "from the seed"
    before = scores(model.eval())
    one_step(model.train())
    trained = scores(model.eval())
    assert trained != before
    plain = load_reward_model(str(saved(model, tmp_path / "plain")))
    assert scores(plain) == pytest.approx(trained, abs=1e-5)
    if lora is None:
        # Seen on an AMD processor: rewards differ in their last bits, weights do not.
        back = plain.classifier.state_dict()
        weights = model.classifier.state_dict()
        assert back.keys() == weights.keys()
        assert all(torch.equal(back[key], weights[key]) for key in back)
        return
    (tmp_path / "adapter").mkdir()
    save_adapter(model, tmp_path / "adapter")
    adapted = load_reward_model(str(tmp_path / "adapter"))
    assert scores(adapted) == pytest.approx(trained, abs=1e-5)


# Padding of tokenizers of all kinds


def tokenizer_with(special: tuple[str, ...], **named: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["a question"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.chat_template = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    return tokenizer


NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
TOKENIZERS = {
    # No token is free: one is added. `<|endoftext|>` is not in any of these vocabularies.
    "none free": (("<s>", "</s>"), NAMED, "<|assay_pad|>"),
    "one for all": (("</s>",), {"bos_token": "</s>", "eos_token": "</s>"}, "<|assay_pad|>"),
    "unknown": (("<unk>", "<s>", "</s>"), NAMED | {"unk_token": "<unk>"}, "<unk>"),
    "reserved": (("<s>", "</s>", "<r0>"), NAMED, "<r0>"),
    "its own": (("<s>", "</s>", "<r0>", "<p>"), NAMED | {"pad_token": "<p>"}, "<p>"),
    "pad is eos": (("<s>", "</s>", "<r0>"), NAMED | {"pad_token": "</s>"}, "<r0>"),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_each_tokenizer_gets_a_padding_token_of_its_own(
    kind: str, tiny_base: Path, tmp_path: Path
) -> None:
    # T7: a padding token that is in the vocabulary, in the embedding, and ends no text.
    from transformers import AutoConfig, AutoTokenizer

    special, named, expected = TOKENIZERS[kind]
    base = shutil.copytree(tiny_base, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    tokenizer = tokenizer_with(special, **named)
    config |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    (base / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(base)

    model = build(base)
    directory = saved(model, tmp_path / "rm")

    again = AutoTokenizer.from_pretrained(directory)
    assert again.pad_token == expected
    assert again.pad_token_id == AutoConfig.from_pretrained(directory).pad_token_id == model.pad_id
    assert len(again) == len(model.renderer.tokenizer)
    assert model.pad_id < model.classifier.get_input_embeddings().num_embeddings
    loaded = load_reward_model(str(directory))
    assert loaded.score("q", ["a", "b"]) == model.eval().score("q", ["a", "b"])
    added = expected == "<|assay_pad|>"
    assert len(again) == len(tokenizer) + added
    if added:
        # An adapter's base stays as it is, so nothing can be added there.
        with pytest.raises(ModelError, match="no special token to pad with"):
            build(base, LORA)


def test_the_embedding_grows_only_where_a_padding_token_is_added(
    tiny_base: Path, tmp_path: Path
) -> None:
    from transformers import LlamaForCausalLM

    special, named, _ = TOKENIZERS["none free"]
    tokenizer = tokenizer_with(special, **named)
    base = shutil.copytree(tiny_base, tmp_path / "base")
    language_model = LlamaForCausalLM.from_pretrained(base)
    language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    language_model.config.eos_token_id = tokenizer.eos_token_id
    language_model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = build(base)
    assert model.classifier.get_input_embeddings().num_embeddings == len(tokenizer) + 1
    assert model.pad_id == len(tokenizer)
    on_disk = load_file(saved(model, tmp_path / "rm") / "model.safetensors")
    assert on_disk["model.embed_tokens.weight"].shape[0] == len(tokenizer) + 1
    assert scores(load_reward_model(str(tmp_path / "rm"))) == scores(model.eval())


def test_a_foreign_model_scores_though_no_token_is_free_to_pad(
    tiny_reward: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """As gpt2 with its one special token: rewards are read at known places, any token can pad."""
    special, named, _ = TOKENIZERS["one for all"]
    foreign = copy_with(tiny_reward, tmp_path / "foreign")
    (foreign / METADATA_FILE).unlink()
    (foreign / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer_with(special, **named).save_pretrained(foreign)
    model = load_reward_model(str(foreign))
    assert sum("not saved by Assay" in message for message in said.messages) == 1
    assert scores(model) == scores(load_reward_model(str(tiny_reward)))
