"""What can be said of a model without its weights: engine and kernels, head, template, memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from assay.config import Recipe, TrainConfig
from assay.data.rendering import Renderer
from assay.doctor.packages import shortened
from assay.doctor.section import Section, gib
from assay.errors import ModelError, ResourceError, first_line
from assay.model.adapters import adapter_names, has_head, new_adapters
from assay.model.classifier import config_of, quiet_transformers
from assay.model.engine import ENGINES, EngineName
from assay.model.foreign import foreign_head
from assay.model.ladder import rung_of
from assay.model.loading import resolve_device
from assay.model.locate import Located, base_named_in, locate_here
from assay.model.metadata import Metadata
from assay.model.precision import DTYPES, faster_dtype
from assay.model.pull.address import parse_address
from assay.model.reader import reader_for_training, reader_of
from assay.model.reward_model import RewardModel
from assay.train.memory import free_bytes, kept_per_token, optimizer_bytes
from assay.train.prepare import check_length
from assay.train.trainable import choose_trained
from assay.tree.attention import Demand, Kernel, kernel_for, kernels_on

_QUANTISED = {"nf4": 0.5, "int8": 1.0}
"""Of a frozen weight, by `lora.quantize`."""


def about_model(name: str, section: Section) -> None:
    """Look at a model to score, evaluate or serve with.

    Raises:
        AssayError: as `load_reward_model`; or memory will not do.
    """
    located = _located(name, None, section)
    if located is None:
        return
    base = located.path if located.kind == "plain" else _base_of(located.path, section)
    if base is None:
        return
    device = resolve_device("auto")
    model = without_weights(base, *reader_of(located, None))
    _say_model(model, located, section)
    _say_head(located, base, section)
    with section.asked():
        _say_engine(model, "auto", device, section)
    saved = getattr(config_of(base), "dtype", None) or torch.float32
    dtype = torch.float32 if device.type == "cpu" else saved
    needed, free = dtype.itemsize * _count(model.parameters()), free_bytes(device)
    said = f"{gib(needed)} for weights in {str(dtype).removeprefix('torch.')}"
    section.say("memory", {"weights": needed, "free": free}, f"{said}; {gib(free)} free")
    if needed > free:
        raise ResourceError(
            f"memory will not do: {said}, and {gib(free)} are free",
            where=name,
            mend="score with --dtype bfloat16, or where there is more memory",
        )


def about_start(recipe: Recipe, section: Section) -> None:
    """Look at the model that a recipe trains.

    Raises:
        AssayError: as `build_for_training`; or memory will not do.
    """
    located = _located(recipe.model.path, recipe.model.revision, section)
    if located is None:
        return
    renderer = reader_for_training(recipe.model)
    metadata = Metadata(renderer.template.name, "", "", "text", recipe.model.path)
    model = without_weights(located.path, renderer, metadata)
    _say_model(model, located, section)
    with section.asked():
        check_length(recipe, model)
    device = resolve_device(recipe.train.device)
    chosen = recipe.model.dtype
    dtype = DTYPES[faster_dtype(device).dtype if chosen == "auto" else chosen]
    model.compute_dtype = None if dtype == torch.float32 else dtype
    engine: EngineName = "padded"
    with section.asked():
        engine = _say_engine(model, recipe.train.engine, device, section)
    of_pass = 0.0
    with section.tried("memory of a pass"):
        of_pass = recipe.train.max_length * kept_in_theory(model, recipe.train, engine)
    _say_training_memory(model, recipe, of_pass, device, section)


def kept_in_theory(model: RewardModel, config: TrainConfig, engine: EngineName) -> float:
    """`kept_per_token` of a model without weights, as on a CPU.

    Torch follows a pass by shapes, dtypes and devices, and computes nothing. (On the meta device it
    would not know autocast.)
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    path = Path(model.classifier.name_or_path)
    shapes = FakeTensorMode()
    followed = without_weights(path, model.renderer, model.metadata, shapes)
    followed.compute_dtype = model.compute_dtype
    followed.use_engine(engine)
    with shapes:
        return kept_per_token(followed, config)


def without_weights(
    path: Path,
    renderer: Renderer,
    metadata: Metadata,
    shapes: AbstractContextManager[object] | None = None,
) -> RewardModel:
    """A model whose tensors are shapes alone: it takes next to no memory and time.

    Args:
        path: its directory.
        renderer: how it reads.
        metadata: what is known of it.
        shapes: where its tensors are made; by default on the meta device.

    Raises:
        ModelError: no classifier can be made of its config.
    """
    from transformers import AutoModelForSequenceClassification, initialization

    config = config_of(path)
    shapes = torch.device("meta") if shapes is None else shapes
    try:
        with quiet_transformers(), shapes, initialization.no_init_weights():
            classifier = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"cannot be loaded as a sequence classifier ({first_line(error)})",
            where=path,
            mend="Assay needs a decoder or encoder with a ForSequenceClassification class",
        ) from None
    text = classifier.config.get_text_config()
    text.pad_token_id = text.pad_token_id or 0
    classifier.name_or_path = str(path)
    return RewardModel(classifier, renderer, metadata)


def _located(name: str, revision: str | None, section: Section) -> Located | None:
    located = locate_here(name, revision)
    if located is None:
        parse_address(name, revision)
        section.say("place", None, "not in the cache")
        section.notes.append(
            f"{name} is fetched when a command needs it, and can then be looked at: assay pull "
            f"{name}{f' --revision {revision}' if revision else ''}"
        )
    return located


def _base_of(adapter: Path, section: Section) -> Path | None:
    """The directory of an adapter's base model; None where that is not here."""
    located = _located(*base_named_in(adapter), section)
    return None if located is None else located.path


def _say_model(model: RewardModel, located: Located, section: Section) -> None:
    config = model.classifier.config.get_text_config()
    section.say("place", shortened(str(located.path.absolute())))
    kind = type(model.classifier).__name__
    layers = getattr(config, "num_hidden_layers", None)
    count = _count(model.parameters())
    said = f"{kind}, {layers} layers, {count / 1e6:,.0f} million weights"
    section.say(
        "architecture",
        {"class": kind, "layers": layers, "weights": count, "kind": located.kind},
        f"an adapter of {said}" if located.kind == "adapter" else said,
    )
    context = model.max_length
    section.say(
        "template",
        {"name": model.renderer.template.name, "hash": model.renderer.template.hash},
        f"{model.renderer.template.name} (hash {model.renderer.template.hash})",
    )
    section.say("context", context, f"{context:,} tokens" if context < 1 << 30 else "no bound")


def _say_head(located: Located, base: Path, section: Section) -> None:
    if located.kind == "adapter":
        there = has_head(adapter_names(located.path)) or foreign_head(located.path) is not None
        place = "adapter" if there else "its base"
    else:
        place, there = "its files", False
    architectures = getattr(config_of(base), "architectures", None) or []
    there = there or any(name.endswith("ForSequenceClassification") for name in architectures)
    there = there or foreign_head(base) is not None
    said = f"in {place}" if there else "none: it can be trained, and gives no rewards before"
    section.say("reward head", there, said)


def _say_engine(
    model: RewardModel, choice: str, device: torch.device, section: Section
) -> EngineName:
    """The engine that the ladder gives, why none above it, and its kernels.

    Raises:
        ConfigError: the one that is asked for is wrong for the model.
    """
    rung = rung_of(model, choice, device)
    taken = rung.engine
    why = "; ".join(f"{name}: {fault}" for name, fault in rung.faults.items() if name != taken)
    said = f"{taken}, since others do not fit ({why})" if why else f"{taken}: as asked"
    if choice == "auto" and not why:
        said = f"{taken}: the fastest, and right on a small copy of this model"
    section.say("engine", {"taken": taken, "faults": rung.faults}, said)
    if rung.doubt is not None:
        section.notes.append(rung.doubt)
    section.notes += [text for text, _ in rung.kernels_left_out]
    if ENGINES[taken].attention is None:
        section.say("attention", model.classifier.config._attn_implementation, "transformers' own")
    else:
        _say_attention(model, device, set(rung.wrong), section)
    return taken


def _say_attention(
    model: RewardModel, device: torch.device, refused: set[Kernel], section: Section
) -> None:
    config = model.classifier.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    demand = Demand(
        device.type,
        model.compute_dtype or torch.float32,
        int(getattr(config, "qk_head_dim", None) or width),
        int(getattr(config, "v_head_dim", None) or width),
        softcap=getattr(config, "attn_logit_softcapping", None) is not None,
        sinks=any(name.endswith("sinks") for name, _ in model.named_parameters()),
    )
    there = set(kernels_on(device)) - refused
    kernel = kernel_for(demand, there)
    found, said = {"full": kernel}, str(kernel)
    windowed = getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None) if windowed else None
    if window is not None:
        found["windowed"] = kernel_for(demand._replace(window=True), there)
        if found["windowed"] != kernel:
            said += f"; {found['windowed']} for texts longer than the window of {window} tokens"
    section.say("attention", found, said)


def _say_training_memory(
    model: RewardModel, recipe: Recipe, of_pass: float, device: torch.device, section: Section
) -> None:
    """What one process needs at the least, and what it has.

    Raises:
        ConfigError: the layers that the recipe names are not there.
        ResourceError: memory will not do.
    """
    if recipe.lora is not None:
        path = Path(model.metadata.base)
        model.inner = new_adapters(model.classifier, recipe.lora, base=path, fresh=["score"])
    choose_trained(model, recipe.train)
    frozen = _count(p for p in model.parameters() if not p.requires_grad)
    trained = _count(p for p in model.parameters() if p.requires_grad)
    each: float = (model.compute_dtype or torch.float32).itemsize
    if recipe.lora is not None and recipe.lora.quantize != "none":
        each = _QUANTISED[recipe.lora.quantize]
    weights, later = int(4 * trained + each * frozen), optimizer_bytes(model)
    least, free = weights + later, free_bytes(device)
    said = (
        f"{gib(weights)} for weights, {gib(later)} for gradients and moments, about "
        f"{gib(of_pass)} for a pass of {recipe.train.max_length} tokens"
    )
    section.say("trained", trained, f"{trained / 1e6:,.1f} million weights")
    section.say(
        "memory",
        {"weights": weights, "optimizer": later, "pass": int(of_pass), "free": free},
        f"{said}; {gib(free)} free",
    )
    sharded = recipe.train.strategy in ("fsdp2", "deepspeed-zero2", "deepspeed-zero3")
    if sharded:
        section.notes.append(f"{recipe.train.strategy} shares these among the processes")
    elif least > free:
        raise ResourceError(
            f"memory will not do: {gib(least)} for weights, gradients and moments, and {gib(free)} "
            "are free",
            where=recipe.model.path,
            mend="train adapters (lora: {}) or the last layers (train.top_layers), take a smaller "
            "model, or share it (train.strategy: fsdp2)",
        )
    elif least + of_pass > free:
        section.notes.append(
            f"memory may not suffice for train.max_length {recipe.train.max_length}; lower it, or "
            "set train.gradient_checkpointing: true"
        )


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
