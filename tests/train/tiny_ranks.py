"""Two processes that stay, and compute together what a test asks: gloo, on the CPU.

They fork from one warmed server and join one process group, as a launcher's processes do.
"""

from __future__ import annotations

import copy
import functools
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_runs import recipe
from torch import Tensor, nn
from torch import distributed as dist

from assay.config import Recipe
from assay.data.encoding import EncodedGroup
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.model.heads import ensemble_of
from assay.model.membership import give_members
from assay.model.metadata import Metadata
from assay.model.reward_model import RewardModel
from assay.model.twin import twin_of
from assay.train.loop import _train
from assay.train.optimizer import build_optimizer, build_schedule
from assay.train.plan import Plan
from assay.train.step import train_step
from assay.train.strategy.choosing import wrap
from assay.train.strategy.single import Strategy
from assay.train.strategy.team import Place, Team, team

SIZE = 2
GROUPS, BATCH, STEPS = 10, 4, 40
"""The last batch of an epoch has 2 groups."""

NO_READER: Any = None
"""No text is read by the model here."""


class Sparse(nn.Module):
    """Has a weight that short passes do not use, as that of an expert."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.scale_D = nn.Parameter(torch.linspace(0.5, 1.5, 64))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y * self.scale_D.to(y) if x.shape[1] > 1 else y


@dataclass(frozen=True)
class Job:
    """Steps of a twin, and how they are computed. `deal`: which packs each process takes."""

    strategy: str
    max_tokens: int = 2048
    steps: int = STEPS
    dtype: torch.dtype = torch.float64
    checkpointing: bool = False
    engine: str = "tree"
    batch: int = BATCH
    deal: tuple[tuple[int, ...], ...] | None = None
    ensemble: int = 1
    frozen: bool = False
    sparse: bool = False


@dataclass
class Trained:
    """What came out on one process; the update and the moments are whole on the first alone."""

    engine: dict[str, Any]
    losses: Tensor
    norms: Tensor
    update: Tensor | None = None
    moments: dict[str, Tensor] = field(default_factory=dict)
    packs: list[int] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)


def groups() -> list[EncodedGroup]:
    """Of two, three and four responses, of 40 to 400 tokens in all; which are better is chance."""
    draw = np.random.default_rng(5)
    found = []
    for number in range(GROUPS):
        prompt = draw.integers(1, 98, draw.integers(20, 120)).tolist()
        count = 2 + number % 3
        ends = [draw.integers(1, 98, draw.integers(8, 60)).tolist() for _ in range(count)]
        group = Group(
            "",
            Source("rows", number),
            (Message("user", ""),),
            tuple(Response((Message("assistant", ""),)) for _ in ends),
            tuple(Comparison(a, b, "a") for a in range(count) for b in range(a + 1, count)),
        )
        found.append(EncodedGroup(group, tuple((*prompt, *end) for end in ends)))
    return found


@functools.cache
def twin() -> Any:
    from transformers import LlamaConfig

    return twin_of(LlamaConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4))


def settings(job: Job) -> Recipe:
    checked = recipe(
        Path("m"),
        Path("t"),
        Path("o"),
        learning_rate=1e-3,
        weight_decay=0.01,
        strategy=job.strategy,
        warmup_ratio=0,
    )
    loss = checked.loss.model_copy(update={"ensemble": job.ensemble})
    return checked.model_copy(update={"loss": loss})


def train_twin(job: Job, joined: Team) -> Trained:
    """Train the twin; the same numbers whatever the job, that is what the tests are for."""
    model = RewardModel(
        copy.deepcopy(twin()).to(job.dtype), NO_READER, Metadata("", "", "", "text", "")
    )
    model.use_engine(job.engine)  # type: ignore[arg-type]
    if job.checkpointing:
        model.classifier.activation_checkpointing_enable({"use_reentrant": False})
    if job.ensemble > 1:
        give_members(model, ensemble_of(job.ensemble), seed=3, directory=Path("m"))
    model.backbone.requires_grad_(not job.frozen)
    if job.sparse:
        layer: Any = model.backbone.get_submodule("layers.0")
        layer.mlp = Sparse(layer.mlp)
    model.train()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    checked = settings(job)
    strategy = wrap(
        model,
        lambda: build_optimizer(model.named_parameters(), checked.train),
        checked.train,
        joined,
        torch.device("cpu"),
    )
    if job.deal is not None:
        own = job.deal[joined.rank]
        vars(strategy)["own"] = lambda count: [pack for pack in own if pack < count]
    schedule = build_schedule(strategy.optimizer, checked.train, STEPS)
    plan, data, results = Plan.of(GROUPS, job.batch, 3, 1, STEPS), groups(), []
    for step in range(job.steps):
        batch = [data[index] for index in plan.groups_of(step)]
        results.append(train_step(strategy, batch, schedule, checked, job.max_tokens))
    trained = Trained(
        what_computes(strategy),
        torch.tensor([result.loss for result in results], dtype=torch.float64),
        torch.tensor([result.grad_norm for result in results], dtype=torch.float64),
        packs=[result.num_packs for result in results],
        sequences=[result.num_sequences for result in results],
        rewards=[result.rewards for result in results],
        moments=strategy.moments(),
    )
    with strategy.whole() as whole:
        if whole is not None:
            after = torch.cat([p.detach().flatten().clone() for p in whole.parameters()])
            trained.update = after - before
    return trained


def what_computes(strategy: Strategy) -> dict[str, Any]:
    """The engine itself, not what was asked for."""
    from torch.distributed.tensor import DTensor

    engine: Any = getattr(strategy, "engine", None)
    parameters = list(strategy.model.parameters())
    return {
        "engine": type(engine).__name__,
        "stage": engine.zero_optimization_stage() if hasattr(engine, "zero_optimization") else None,
        "world": dist.get_world_size() if strategy.team.size > 1 else 1,
        "dtensors": all(isinstance(p, DTensor) for p in parameters),
        "held": sum(_held(p) for p in parameters),
        "all": sum(getattr(p, "ds_numel", p.numel()) for p in parameters),
    }


def _held(parameter: Any) -> int:
    shard = getattr(parameter, "_local_tensor", getattr(parameter, "ds_tensor", parameter))
    return int(shard.numel())


def train_recipe(checked: Recipe, resume: str | None, joined: Team) -> int:
    """A whole run; its steps."""
    with ExitStack() as held:
        return _train(checked, resume, False, joined, held).step


def _serve(rank: int, port: int, link: Connection, said: str) -> None:
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(SIZE),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with team("cpu") as both:
        while (task := link.recv()) is not None:
            size, function, arguments = task
            try:
                found = function(*arguments, both if size == SIZE else Team(Place()))
                link.send((True, found))
            except BaseException:
                link.send((False, traceback.format_exc()))


@dataclass
class Pair:
    """The two processes."""

    directory: Path

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["assay.train.loop", "peft", "tiny_ranks"])
        self._links: list[Connection] = []
        self._processes = []
        port = free_port()
        for rank in range(SIZE):
            here, there = context.Pipe()
            said = str(self.directory / f"rank-{rank}.txt")
            process = context.Process(target=_serve, args=(rank, port, there, said), daemon=True)
            process.start()
            self._links.append(here)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: object, size: int = SIZE) -> list[Any]:
        """What the function returns on each process, by rank; with size 1 the first works alone."""
        for link in self._links[:size]:
            link.send((size, function, arguments))
        answers: Sequence[tuple[bool, Any]] = [link.recv() for link in self._links[:size]]
        wrong = [text for good, text in answers if not good]
        assert not wrong, "\n".join(wrong)
        return [found for _, found in answers]

    def close(self) -> None:
        """End the processes."""
        for link in self._links:
            link.send(None)
        for process in self._processes:
            process.join(10)
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
