"""A composite reward at work: its models score the same items, and their values are combined."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.data.formats import Scorable, VerbatimText
from assay.data.records import Group
from assay.errors import AssayError, ConfigError
from assay.model.vllm.either import ScoringModel
from assay.score.composite import CompositeReward, ModelPart, combine
from assay.score.reward_file import RewardFile, read_reward_file
from assay.score.rewarder import OneModel
from assay.score.scorer import Progress, RowScores

Kind = Callable[[ScoringModel, str], OneModel]
"""What makes something that gives rewards of a model and its name."""


class Several:
    """The sums of a reward file, with all they are made of as components.

    Args:
        spec: what the file says.
        name: what rows are told the reward is called.
        models: by the name that `--model` would take, each model that the file names.
        default: the name of the model of parts that name none.
    """

    def __init__(
        self, spec: CompositeReward, name: str, models: Mapping[str, OneModel], default: str | None
    ) -> None:
        self.spec = spec
        self.name = name
        self._models = dict(models)
        self._default = default

    @property
    def about(self) -> dict[str, Any]:
        """The reward file and the template of each part; the precision, where models say one."""
        found: dict[str, Any] = {
            "model": self.name,
            "template_hash": {
                part.name: self._of(part).model.renderer.template.hash for part in self.spec.models
            },
        }
        said = (model.about.get("precision") for model in self._models.values())
        precision = next((one for one in said if one is not None), None)
        return found if precision is None else found | {"precision": precision}

    @property
    def engine(self) -> str:
        """Of each model, one name where they agree."""
        return ", ".join(dict.fromkeys(model.engine for model in self._models.values()))

    @property
    def template(self) -> str:
        """Of each model, one name where they agree."""
        return ", ".join(dict.fromkeys(model.template for model in self._models.values()))

    @property
    def computed_tokens(self) -> int:
        """Of all models."""
        return sum(model.computed_tokens for model in self._models.values())

    def text(self, group: Group, response: int) -> str:
        """As the first model reads it."""
        return next(iter(self._models.values())).text(group, response)

    def identity(self) -> dict[str, Any]:
        """What the file says, and the identity of each model."""
        text = self.spec.model_dump_json()
        found = {"model": self.name, "reward": hashlib.sha256(text.encode()).hexdigest()[:16]}
        for number, model in enumerate(self._models.values(), 1):
            found |= {f"model {number} {key}": value for key, value in model.identity().items()}
        return found

    def check_length(self, max_length: int | None) -> None:
        """Compare with each model's context."""
        for model in self._models.values():
            model.check_length(max_length)

    def refusals(
        self, items: Sequence[Scorable], max_length: int | None
    ) -> list[AssayError | None]:
        """Why some model refuses each item, or None."""
        by_model = [model.refusals(items, max_length) for model in self._models.values()]
        return [
            next((refusal for refusal in found if refusal is not None), None)
            for found in zip(*by_model, strict=True)
        ]

    def score(
        self, items: Sequence[Scorable], max_length: int | None, progress: Progress | None
    ) -> list[RowScores | AssayError]:
        """The sums, and the values of each part as components."""
        found: dict[str, list[RowScores | AssayError]] = {}
        for number, (name, model) in enumerate(self._models.items()):
            share = _part_of(progress, number, len(self._models))
            found[name] = model.score(items, max_length, share)
        rows = []
        for index, item in enumerate(items):
            of_item = {name: results[index] for name, results in found.items()}
            errors = [one for one in of_item.values() if isinstance(one, AssayError)]
            scores = {n: one for n, one in of_item.items() if not isinstance(one, AssayError)}
            rows.append(errors[0] if errors else self._combined(item, scores))
        return rows

    def _combined(self, item: Scorable, of_item: Mapping[str, RowScores]) -> RowScores:
        texts = response_texts(item)
        combined = [
            combine(
                self.spec,
                {
                    part.name: _value(part, of_item[self._key(part)], index)
                    for part in self.spec.models
                },
                text,
            )
            for index, text in enumerate(texts)
        ]
        results = list(of_item.values())
        return RowScores(
            scores=[one.reward for one in combined],
            num_tokens=[
                sum(counts) for counts in zip(*(r.num_tokens for r in results), strict=True)
            ],
            truncated=[any(cuts) for cuts in zip(*(r.truncated for r in results), strict=True)],
            components=[one.components for one in combined],
            unread_thoughts=max(result.unread_thoughts for result in results),
        )

    def _key(self, part: ModelPart) -> str:
        return str(part.model or self._default)

    def _of(self, part: ModelPart) -> OneModel:
        return self._models[self._key(part)]


def response_texts(item: Scorable) -> list[str]:
    """What rules and the length penalty look at: of each response all that the assistant said.

    A verbatim text is looked at whole.
    """
    if isinstance(item, VerbatimText):
        return [item.text]
    return [
        "\n".join(message.content for message in response.messages if message.role == "assistant")
        for response in item.responses
    ]


def models_named(file: RewardFile, default: str | None) -> dict[str, list[ModelPart]]:
    """The models that a reward file needs, each once, in order, and the parts that each is for.

    Raises:
        ConfigError: a part names none, and none is given besides.
    """
    found: dict[str, list[ModelPart]] = {}
    for part in file.spec.models:
        name = part.model or default
        if name is None:
            raise ConfigError(
                f"the part '{part.name}' names no model",
                where=file.place(part, "name"),
                mend="add model, or give --model, too",
            )
        found.setdefault(name, []).append(part)
    return found


def check_heads(file: RewardFile, parts: Sequence[ModelPart], model: ScoringModel) -> None:
    """See that a model has the heads that some parts name.

    Raises:
        ConfigError: one it has not.
    """
    heads = model.heads
    known = heads.names if heads is not None and not heads.is_ensemble else []
    for part in parts:
        if part.head is not None and part.head not in known:
            raise ConfigError(
                f"the model of '{part.name}' has no head '{part.head}'",
                where=file.place(part, "head"),
                mend=f"known: {', '.join(known)}" if known else "leave head out",
            )


def load_several(
    path: Path, model: str | None, load: Callable[[str], ScoringModel], kind: Kind = OneModel
) -> Several:
    """A reward file with its models.

    Args:
        path: the file.
        model: of the parts that name none.
        load: opens a model by the name that `--model` takes.
        kind: what gives the rewards of a model with its name.

    Raises:
        ConfigError: the file is wrong, needs a model that nobody names, or a head that its model
            does not have.
        AssayError: as `load`, with the line of the file that names the model.
    """
    file = read_reward_file(path)
    models: dict[str, OneModel] = {}
    for name, parts in models_named(file, model).items():
        try:
            opened = load(name)
        except AssayError as error:
            raise _placed(error, file, parts, name) from None
        check_heads(file, parts, opened)
        models[name] = kind(opened, name)
    return Several(file.spec, str(path), models, model)


def _placed(
    error: AssayError, file: RewardFile, parts: Sequence[ModelPart], name: str
) -> AssayError:
    """Why a model cannot be opened, with the line that names it, where one does."""
    part = next((part for part in parts if part.model is not None), None)
    if part is None:
        return error
    said = error.what if error.where in (None, name) else f"{error.where}: {error.what}"
    placed = type(error)(
        f"the model '{name}' of '{part.name}': {said}",
        where=file.place(part, "model"),
        mend=_mend_of_path(file.path, name) or error.mend,
    )
    placed.also = error.also
    return placed


def _mend_of_path(file: Path, name: str) -> str | None:
    """For a name that was meant as relative to the file."""
    beside = file.parent / name
    if Path(name).exists() or not beside.is_dir():
        return None
    return f"paths are relative to where the command runs, not to the file: write {beside}"


def _value(part: ModelPart, result: RowScores, index: int) -> float:
    if part.head is None or result.components is None:
        return result.scores[index]
    value = result.components[index][part.head]
    assert value is not None, "heads always have values"
    return value


def _part_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    if progress is None:
        return None
    return lambda share: progress((number + share) / count)
