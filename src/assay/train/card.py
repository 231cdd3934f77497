"""The card of a trained model, `model/README.md`: facts of the run, and how to load the model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from assay.config import Recipe
from assay.errors import AssayError
from assay.fetch.record import UNKNOWN_LICENCE, card_licence, read_record
from assay.model.metadata import Metadata
from assay.model.reader import locate_for_training
from assay.train.state import RunState

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LICENCE_ID = re.compile(r"[a-z0-9.-]+")

Results = Mapping[str, Mapping[str, Any]]
"""Of each evaluation set, as in `results.json`."""


def card(state: RunState, step: int, results: Results) -> str:
    """The card as Markdown with a YAML header, as hubs read it.

    Args:
        state: of a run that has written its `model/`.
        step: the one that `model/` is of.
        results: of `model/`.
    """
    metadata = Metadata.read(state.run / "model")
    assert metadata is not None  # Saving the model writes it.
    licence = _licence(state.recipe)
    parts = [
        _header(state.recipe, licence),
        f"# {_text(state.run.name)}\n",
        _what(state.recipe, licence),
        _loading(state.run, metadata),
        _template(metadata),
        _data(state),
        _settings(state, step),
        _evaluation(results),
        _limits(state, step, results, metadata),
        _versions(state.described),
    ]
    return "\n".join(part for part in parts if part)


def _header(recipe: Recipe, licence: str) -> str:
    fields: dict[str, Any] = {
        "pipeline_tag": "text-classification",
        "library_name": "transformers",
        "tags": ["reward-model"],
    }
    if _on_a_hub(recipe.model.path):
        fields["base_model"] = recipe.model.path
    if _LICENCE_ID.fullmatch(licence.lower()) and licence != UNKNOWN_LICENCE:
        fields["license"] = licence.lower()
    elif licence != UNKNOWN_LICENCE:
        fields |= {"license": "other", "license_name": licence}
    sources = [source.path for source in recipe.data.train if _on_a_hub(source.path)]
    if sources:
        fields["datasets"] = list(dict.fromkeys(sources))
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n"


def _what(recipe: Recipe, licence: str) -> str:
    known = "not known" if licence == UNKNOWN_LICENCE else licence
    return (
        "A reward model: it reads a conversation and gives one number, higher for a better last "
        "response. The number has no bounds and is no probability; compare the numbers of "
        "responses to the same prompt. `sigmoid(a - b)` is the modelled probability that the "
        "response with reward a is preferred to that with reward b"
        + (
            ".\n"
            if recipe.loss.kind != "regression"
            else ", if at all, only up to scale: it was trained on ratings.\n"
        )
        + f"\nTrained from `{recipe.model.path}` (licence: {known}).\n"
    )


def _loading(run: Path, metadata: Metadata) -> str:
    directory = run / "model"
    head = "## Use\n\n"
    if not _loads_plainly(directory):
        return (
            f"{head}transformers has no class for sequence classification with this architecture; "
            f"load it with Assay:\n\n{_with_assay(run)}"
        )
    offset = (
        f" Assay adds {metadata.reward_offset} to each reward, which transformers does not know."
        if metadata.reward_offset
        else ""
    )
    return f"""{head}With transformers alone:{offset}

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

path = {str(directory)!r}  # or wherever this directory lies
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForSequenceClassification.from_pretrained(path).eval()

messages = [
    {{"role": "user", "content": "What is the capital of France?"}},
    {{"role": "assistant", "content": "Paris."}},
]
text = tokenizer.apply_chat_template(messages, tokenize=False)
inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)  # the text has its own
with torch.no_grad():
    reward = model(**inputs).logits[0, 0].item()
print(reward)
```

With Assay:

{_with_assay(run)}"""


def _with_assay(run: Path) -> str:
    return f"""```python
from assay import RewardModel

rm = RewardModel.load({str(run)!r})
rm.score("What is the capital of France?", ["Paris.", "No idea."])
```
"""


def _template(metadata: Metadata) -> str:
    rows = [
        ("template", metadata.template_name),
        ("SHA-256 of its text, first 16 digits", metadata.template_hash),
        ("special tokens written inside messages", f"read as {metadata.special_tokens_in_content}"),
        ("thinking blocks", metadata.thinking),
        ("tokens of prompt and response, at most", metadata.max_length),
    ]
    return (
        "## How it reads\n\nThe template is saved as the tokenizer's chat template; it writes the "
        "begin and end tokens itself.\n\n" + _table(("", ""), rows)
    )


def _data(state: RunState) -> str:
    rows = []
    for name, account in state.stores.table():
        left_out = ", ".join(f"{count} {why}" for why, count in sorted(account.dropped.items()))
        rows.append(
            (
                name,
                account.format,
                account.rows,
                account.groups,
                account.comparisons,
                left_out or "none",
                f"`{account.sha256}`",
            )
        )
    taken, groups = state.data.counts["train"], state.recipe.data.group_name
    header = ("source", "format", "rows", groups, "comparisons", "left out", "SHA-256")
    held = state.data.counts["eval"].get("held-out")
    return (
        "## Data\n\n"
        + _table(header, rows)
        + f"\nTrained on {taken['groups']} {groups} with {taken['comparisons']} comparisons of "
        + "these"
        + (f"; {held['groups']} {groups} were held out for evaluation" if held else "")
        + ".\n"
    )


def _settings(state: RunState, step: int) -> str:
    recipe, train = state.recipe, state.recipe.train
    if recipe.lora is not None:
        trained = f"LoRA of rank {recipe.lora.r}, alpha {recipe.lora.alpha:g}, and the head"
    elif train.freeze == "backbone":
        trained = "the head"
    elif train.top_layers is not None:
        trained = f"the last {train.top_layers} layers and the head"
    else:
        trained = "all weights"
    schedule: str = train.lr_scheduler_type
    if schedule != "constant":
        schedule += f", warm-up {train.warmup_ratio:g} of the steps"
    loss = recipe.loss.model_dump(exclude_defaults=True)
    loss = {"kind": recipe.loss.kind} | loss
    rows = [
        ("loss", ", ".join(f"{key} {value}" for key, value in loss.items())),
        ("trained", trained),
        ("learning rate", f"{train.learning_rate:g}, {schedule}"),
        ("weight decay", f"{train.weight_decay:g}"),
        ("steps", f"{state.progress.step} of {train.global_batch_size} {recipe.data.group_name}"),
        ("dtype", recipe.model.dtype),
        ("engine", state.described.get("engine")),
        ("processes", f"{state.described.get('num_processes')}"),
        ("seed", train.seed),
    ]
    if state.watch is not None:
        rows.append(("checkpoints", state.watch.describe(state.progress)))
    rows.append(("this model", f"after step {step}"))
    return "## Settings\n\n" + _table(("", ""), rows)


def _evaluation(all_results: Results) -> str:
    if not all_results:
        return "## Evaluation\n\nNothing was evaluated.\n"
    rows = []
    for name, results in all_results.items():
        low, high = results["accuracy_ci95"]
        rows.append(
            (
                name,
                f"{results['accuracy']:.4f}",
                f"[{low:.3f}, {high:.3f}]",
                results["num_comparisons"],
                results["num_prompts"],
                results["ties"],
                f"{results['mean_margin']:.3f}",
                f"{results['loss']:.4f}",
                f"{results['length_baseline']:.3f}",
            )
        )
    header = ("set", "accuracy", "95% interval", "comparisons", "prompts", "ties", "mean margin")
    return (
        "## Evaluation\n\nOf the weights in this directory. Accuracy counts strict wins; its "
        "interval is clustered by prompt; log loss is the mean of -log sigmoid(margin); the last "
        'column is the accuracy of "the longer response is better".\n\n'
        + _table((*header, "log loss", "length"), rows)
    )


def _limits(state: RunState, step: int, results: Results, metadata: Metadata) -> str:
    lines = [
        f"It was trained on texts of at most {metadata.max_length} tokens; longer ones it has not "
        "seen.",
        "It prefers what its data preferred, biases included; the rewards of different prompts "
        "cannot be compared.",
    ]
    if not results:
        lines.append("Its accuracy is not known.")
    for name, counts in state.data.counts["eval"].items():
        shared = counts.get("prompts_in_training")
        if shared:
            lines.append(
                f"{shared} prompts of the evaluation set {_text(name)} were trained on, too: its "
                "accuracy is flattering."
            )
    if state.watch is not None and step == state.progress.best_step:
        lines.append(
            f"Its checkpoint was chosen by {_text(state.watch.tag)}: the numbers of that set are a "
            "little flattering."
        )
    if metadata.special_tokens_in_content == "text":
        lines.append(
            "A special token written out inside a message is plain text to Assay; transformers' "
            "tokenizer reads the token."
        )
    return "## Limits\n\n" + "".join(f"- {line}\n" for line in lines)


def _versions(described: Mapping[str, Any]) -> str:
    versions = {"assay": described["assay_version"], "python": described["python"]}
    versions |= described["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"## Versions\n\n{listed}.\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_text(cell) for cell in line) + " |\n" for line in lines)


def _text(value: object) -> str:
    """A value that cannot break out of a cell or a line."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())


def _licence(recipe: Recipe) -> str:
    """Of the model that the run began with, as its pull or its own card says."""
    directory = locate_for_training(recipe.model).path
    try:
        record = read_record(directory)
    except AssayError:  # Not pulled, or changed since.
        record = None
    return record.licence if record is not None else card_licence(directory)


def _on_a_hub(path: str) -> bool:
    return _HUB_ID.fullmatch(path) is not None and not Path(path).exists()


def _loads_plainly(directory: Path) -> bool:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )

    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return config.get("model_type") in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
