"""The recipe schema: typed, strict, with a unit and a default for each field. Imports no torch.

`assay train --help` prints this module's fields; `recipe.py` reads YAML and flags into it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from assay.loss_config import LossConfig
from assay.strict import Strict

__all__ = [
    "DataConfig",
    "LoraConfig",
    "LossConfig",
    "ModelConfig",
    "Recipe",
    "SourceConfig",
    "TrainConfig",
]

DType = Literal["auto", "float32", "bfloat16"]
SpecialTokens = Literal["text", "special", "error"]
EngineChoice = Literal["auto", "tree", "packed", "padded"]
StrategyChoice = Literal["auto", "single", "ddp", "fsdp2", "deepspeed-zero2", "deepspeed-zero3"]
TemplateEnd = Literal["auto", "eos", "none"]
Thinking = Literal["keep", "strip"]
OverLength = Literal["drop", "error", "drop_oldest_turns", "truncate_prompt_left"]
TrackerName = Literal["tensorboard", "wandb", "trackio", "swanlab"]


def _as_source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_names(value: Any) -> Any:
    """A text as the names between its commas, but for the one word that means all of them."""
    if not isinstance(value, str) or value == "all-linear":
        return value
    return [name.strip() for name in value.split(",")]


class ModelConfig(Strict):
    """Which model to start from, and how it reads a conversation."""

    path: str = Field(
        description="model directory, pulled name, hub id, or modelscope:org/name; "
        "a reward head in it is kept, also one of LLaMA-Factory, OpenRLHF or TRL"
    )
    revision: str | None = Field(None, description="revision of a hub model")
    dtype: DType = Field(
        "float32",
        description="dtype of the saved model; bfloat16 trains under autocast with "
        "float32 master weights (what is frozen is held in this dtype); auto: bfloat16 where a "
        "short probe finds it faster here, else float32",
    )
    head: Literal["keep", "new"] = Field(
        "keep", description="keep a reward head that the model has, or draw a new one"
    )
    template: str = Field(
        "auto",
        description="auto (the tokenizer's chat template), a registered name, or FILE.jinja",
    )
    template_end: TemplateEnd = Field(
        "auto", description="close each text with the end token: eos, none, or as the template says"
    )
    special_tokens_in_content: SpecialTokens = Field(
        "text",
        description="a special token written out inside a message is read as plain text, "
        "as the special token, or is an error",
    )
    thinking: Thinking = Field(
        "keep", description="read the <think> blocks of answers, or leave them out"
    )


class LoraConfig(Strict):
    """Low-rank adapters on a frozen backbone; the head is always trained and saved."""

    r: int = Field(16, ge=1, description="rank")
    alpha: float = Field(32, gt=0, description="scale numerator: the update is alpha / r * B A x")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="adapter dropout, probability; above 0 responses share the draws of their "
        "common prompt, so that engines train differently",
    )
    target_modules: Annotated[list[str] | Literal["all-linear"], BeforeValidator(_as_names)] = (
        Field("all-linear", description="linear layers that get adapters: a list, or a,b")
    )
    quantize: Literal["none", "nf4", "int8"] = Field(
        "none",
        description="hold the frozen backbone in 4 or 8 bits (QLoRA): needs a GPU and bitsandbytes",
    )


class SourceConfig(Strict):
    """One source of preference rows."""

    path: str = Field(
        description="file, directory, glob, org/name of a data set on a hub, or sample:NAME"
    )
    format: str = Field("auto", description="auto, or the name of a format")
    split: str | None = Field(None, description="split of a sample or of a hub's data set")
    revision: str | None = Field(None, description="revision of a hub's data set")
    label: str | None = Field(None, description="which label to read where rows have several")
    columns: dict[str, str] = Field(
        {}, description="fields of the rows under other names: {prompt: question, chosen: best.0}"
    )
    name: str | None = Field(
        None, description="name in logs and of the evaluation directory (default: the file's stem)"
    )
    count: int | None = Field(None, ge=1, description="take so many groups, drawn by the seed")
    proportion: float | None = Field(
        None, gt=0, le=1, description="take this part of the groups, drawn by the seed"
    )
    weight: float | None = Field(
        None,
        gt=0,
        description="part of the mixture relative to the other sources' weights; none is repeated",
    )

    @model_validator(mode="after")
    def _one_share(self) -> SourceConfig:
        given = [k for k in ("count", "proportion", "weight") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} contradict each other; give one")
        return self

    @property
    def key(self) -> str:
        """Path and split: what tells the sources of a recipe apart."""
        return f"{self.path}:{self.split}" if self.split else self.path


_Sources = Annotated[
    list[Annotated[SourceConfig, BeforeValidator(_as_source)]], BeforeValidator(_as_list)
]


class DataConfig(Strict):
    """What to train and evaluate on."""

    train: _Sources = Field(min_length=1, description="files to train on (a path, or a list)")
    eval: _Sources = Field([], description="files to evaluate on (a path, or a list)")
    group_by: Literal["prompt", "row"] = Field(
        "prompt", description="one group of all rows with a prompt, or each row its own group"
    )
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="stop and list every bad row, or count them and write them aside"
    )
    held_out: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="part of the prompts that are taken of data.train to evaluate on instead, by "
        "normalised prompt and seed; the evaluation set is named held-out",
    )
    part: float = Field(
        1.0,
        gt=0,
        le=1,
        description="train on this part of the prompts, drawn by the seed; a smaller part lies "
        "within a larger one",
    )
    seed: int | None = Field(
        None,
        ge=0,
        description="seed of what is drawn, held out and taken in part (default: train.seed)",
    )
    max_dropped: float = Field(
        0.05, ge=0, le=1, description="stop if more than this part of the comparisons is dropped"
    )

    @property
    def group_name(self) -> str:
        """What people call the groups."""
        return "prompts" if self.group_by == "prompt" else "groups"

    @field_validator("train")
    @classmethod
    def _weights_for_all_or_none(cls, sources: list[SourceConfig]) -> list[SourceConfig]:
        bare = [source.key for source in sources if source.weight is None]
        if bare and len(bare) < len(sources):
            raise ValueError(
                f"some sources have a weight, and {bare[0]} has none; give each a weight, or use "
                "count and proportion"
            )
        return sources

    @field_validator("eval")
    @classmethod
    def _evaluation_takes_everything(cls, sources: list[SourceConfig]) -> list[SourceConfig]:
        for source in sources:
            for name in ("count", "proportion", "weight"):
                if getattr(source, name) is not None:
                    raise ValueError(
                        f"{source.key} has a {name}, which is for data.train: an evaluation set is "
                        "taken whole; leave it out"
                    )
        return sources


_OF_THE_BEST = ("early_stopping_patience", "load_best_model_at_end", "metric_for_best_model")


class TrainConfig(Strict):
    """The optimisation."""

    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "cosine", description="schedule after the warm-up"
    )
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="warm-up, share of all steps")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (AdamW)")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta 1")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW beta 2")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW epsilon")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient norm is clipped to this")
    num_train_epochs: float = Field(1, gt=0, description="epochs")
    max_steps: int | None = Field(None, ge=1, description="steps; overrides num_train_epochs")
    max_length: int = Field(1024, ge=2, description="tokens of prompt and response together")
    over_length: OverLength = Field(
        "drop",
        description="a response over max_length is dropped and counted, is an error, or the prompt "
        "of its group loses its oldest turns or its left end; no response is ever cut",
    )
    global_batch_size: int = Field(64, ge=1, description="groups in one optimizer step")
    max_tokens_per_pack: int | Literal["auto"] = Field(
        "auto",
        description="tokens in one forward pass (shared prefixes once), at least max_length; "
        "sets the memory used beside weights and optimizer; a group above it is computed in "
        "several passes, twice",
    )
    engine: EngineChoice = Field(
        "auto",
        description="tree (every shared token computed once), packed (no padding, no sharing), "
        "padded, or the fastest that is right for the model",
    )
    freeze: Literal["none", "backbone"] = Field(
        "none",
        description="backbone: train the head alone; what it reads is computed once and kept in "
        "the run directory until the run ends",
    )
    top_layers: int | None = Field(
        None, ge=1, description="train the last so many layers, what follows them, and the head"
    )
    strategy: StrategyChoice = Field(
        "auto",
        description="how several processes (torchrun) share the work: ddp (each holds the whole "
        "model), fsdp2 or deepspeed-zero3 (weights are sharded), deepspeed-zero2 (gradients and "
        "moments are); auto is ddp, or single for one process",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, slower"
    )
    logging_steps: int = Field(5, ge=1, description="steps between log lines")
    eval_steps: int | None = Field(None, ge=1, description="steps between evaluations")
    metric_for_best_model: str | None = Field(
        None,
        description="what tells the best checkpoint, which is then kept: accuracy, mean_margin "
        "(higher is better) or loss (lower is), of a set as in NAME/loss (default where the fields "
        "below are set: loss of the only set)",
    )
    early_stopping_patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations in a row that are not the best"
    )
    load_best_model_at_end: bool = Field(
        False, description="write model/ from the best checkpoint, not from the last"
    )
    save_steps: int | None = Field(None, ge=1, description="steps between checkpoints")
    save_total_limit: int | None = Field(
        2, ge=1, description="checkpoints kept, the newest; the best besides"
    )
    seed: int = Field(42, ge=0, description="seed of the order, the head and dropout")
    device: str = Field("auto", description="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
    report_to: Annotated[list[TrackerName], BeforeValidator(_as_names)] = Field(
        [], description="trackers: a list, or a,b"
    )

    @model_validator(mode="after")
    def _one_choice_of_what_is_trained(self) -> TrainConfig:
        if self.freeze == "backbone" and self.top_layers is not None:
            raise ValueError(
                "train.freeze: backbone and train.top_layers contradict each other; give one"
            )
        return self

    @model_validator(mode="after")
    def _the_best_is_looked_for(self) -> TrainConfig:
        wants = [name for name in _OF_THE_BEST if getattr(self, name)]
        if wants and self.eval_steps is None:
            raise ValueError(
                f"train.{wants[0]} is set and train.eval_steps is not, so that nothing is "
                "evaluated before the end; set train.eval_steps"
            )
        return self

    @property
    def looks_for_best(self) -> bool:
        """Whether evaluations are compared, and the best checkpoint is kept."""
        return any(getattr(self, name) for name in _OF_THE_BEST)


class Recipe(Strict):
    """Everything that determines a training run."""

    model: ModelConfig
    lora: LoraConfig | None = Field(None, description="leave out for full fine-tuning")
    data: DataConfig
    train: TrainConfig = TrainConfig.model_validate({})
    loss: LossConfig = LossConfig.model_validate({})
    plugins: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        [], description="Python files that register formats and templates (a path, or a list)"
    )
    output_dir: str = Field(description="the run directory")

    @property
    def data_seed(self) -> int:
        """The seed of mixing, holding out and taking a part."""
        return self.train.seed if self.data.seed is None else self.data.seed

    @model_validator(mode="after")
    def _evaluation_has_data(self) -> Recipe:
        if self.train.eval_steps is not None and not self.data.eval and not self.data.held_out:
            raise ValueError(
                "train.eval_steps is set and data.eval names no file; name one, set data.held_out, "
                "or leave train.eval_steps out"
            )
        return self

    @model_validator(mode="after")
    def _adapters_are_all_that_is_trained(self) -> Recipe:
        named = "freeze: backbone" if self.train.freeze == "backbone" else "top_layers"
        if self.lora is not None and (self.train.freeze != "none" or self.train.top_layers):
            raise ValueError(
                f"lora and train.{named} contradict each other: with lora only adapters and the "
                "head are trained; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _length_fits_budget(self) -> Recipe:
        budget = self.train.max_tokens_per_pack
        if budget != "auto" and budget < 1:
            raise ValueError(f"train.max_tokens_per_pack ({budget}) should be positive, or auto")
        if budget != "auto" and self.train.max_length > budget:
            raise ValueError(
                f"train.max_length ({self.train.max_length}) is above train.max_tokens_per_pack "
                f"({budget}); raise the budget or lower max_length"
            )
        return self
