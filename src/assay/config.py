"""The recipe schema: typed, strict, with a unit and a default for each field. Imports no torch.

`assay train --help` prints this module's fields; `recipe.py` reads YAML and flags into it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

DType = Literal["float32", "bfloat16"]
SpecialTokens = Literal["text", "special", "error"]
EngineChoice = Literal["auto", "tree", "packed", "padded"]
TemplateEnd = Literal["auto", "eos", "none"]


class _Strict(BaseModel):
    """An unknown key is an error, and a value cannot be changed after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_not_one(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("should not be true or false")
        return value


class ModelConfig(_Strict):
    """Which model to start from, and how it reads a conversation."""

    path: str = Field(
        description="model directory, pulled name, hub id, or modelscope:org/name; "
        "an existing reward head is kept"
    )
    revision: str | None = Field(None, description="revision of a hub model")
    dtype: DType = Field(
        "float32",
        description="dtype of the saved model; bfloat16 trains under autocast with "
        "float32 master weights (LoRA: a frozen backbone in this dtype, adapters in float32)",
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


class LoraConfig(_Strict):
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
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="names of the linear layers that get adapters"
    )


class SourceConfig(_Strict):
    """One file of preference rows."""

    path: str = Field(description="file, or sample:NAME")
    format: str = Field("auto", description="auto, or the name of a format")
    split: str | None = Field(None, description="split of a sample")
    label: str | None = Field(None, description="which label to read where rows have several")
    name: str | None = Field(
        None, description="name in logs and of the evaluation directory (default: the file's stem)"
    )

    @property
    def key(self) -> str:
        """Path and split: what tells the sources of a recipe apart."""
        return f"{self.path}:{self.split}" if self.split else self.path


def _as_source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_Sources = Annotated[
    list[Annotated[SourceConfig, BeforeValidator(_as_source)]], BeforeValidator(_as_list)
]


class DataConfig(_Strict):
    """What to train and evaluate on."""

    train: _Sources = Field(min_length=1, description="files to train on (a path, or a list)")
    eval: _Sources = Field([], description="files to evaluate on (a path, or a list)")
    group_by: Literal["prompt", "row"] = Field(
        "prompt", description="one group of all rows with a prompt, or each row its own group"
    )
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="stop and list every bad row, or count them and write them aside"
    )


class TrainConfig(_Strict):
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
    over_length: Literal["drop", "error"] = Field(
        "drop", description="a response over max_length is dropped and counted, or is an error"
    )
    global_batch_size: int = Field(64, ge=1, description="groups in one optimizer step")
    max_tokens_per_pack: int | Literal["auto"] = Field(
        "auto",
        description="tokens in one forward pass, shared prefixes counted once; sets the memory "
        "used; a group above it is computed in several passes",
    )
    engine: EngineChoice = Field(
        "auto",
        description="tree (every shared token computed once), packed (no padding, no sharing), "
        "padded, or the fastest that is right for the model",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, slower"
    )
    logging_steps: int = Field(5, ge=1, description="steps between log lines")
    eval_steps: int | None = Field(None, ge=1, description="steps between evaluations")
    save_steps: int | None = Field(None, ge=1, description="steps between checkpoints")
    save_total_limit: int | None = Field(2, ge=1, description="checkpoints kept, the newest")
    seed: int = Field(42, ge=0, description="seed of the order, the head and dropout")
    device: str = Field("auto", description="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
    report_to: list[Literal["tensorboard"]] = Field([], description="trackers")


class LossConfig(_Strict):
    """What is minimised."""

    kind: Literal["bradley_terry"] = Field(
        "bradley_terry", description="bradley_terry: -log sigmoid(reward gap)"
    )
    weight_by: Literal["comparison", "prompt"] = Field(
        "comparison",
        description="each comparison counts 1, or 1 / number of comparisons of its group "
        "(InstructGPT, section 3.5)",
    )


class Recipe(_Strict):
    """Everything that determines a training run."""

    model: ModelConfig
    lora: LoraConfig | None = Field(None, description="leave out for full fine-tuning")
    data: DataConfig
    train: TrainConfig = TrainConfig()  # type: ignore[call-arg]
    loss: LossConfig = LossConfig()  # type: ignore[call-arg]
    output_dir: str = Field(description="the run directory")

    @model_validator(mode="after")
    def _evaluation_has_data(self) -> Recipe:
        if self.train.eval_steps is not None and not self.data.eval:
            raise ValueError(
                "train.eval_steps is set and data.eval names no file; name one, or leave "
                "train.eval_steps out"
            )
        return self

    @model_validator(mode="after")
    def _length_fits_budget(self) -> Recipe:
        budget = self.train.max_tokens_per_pack
        if budget != "auto" and self.train.max_length > budget:
            raise ValueError(
                f"train.max_length ({self.train.max_length}) is above train.max_tokens_per_pack "
                f"({budget}); raise the budget or lower max_length"
            )
        return self
