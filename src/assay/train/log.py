"""What a run says: `train_log.jsonl` for programs, `train.log` and the terminal for people."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from assay.evaluate.metrics import METRICS
from assay.files import write_text
from assay.train.plan import Plan
from assay.train.step import StepResult
from assay.train.trackers import Entry, Trackers

JSONL, TEXT = "train_log.jsonl", "train.log"
_FORECAST_AFTER = 10
_STEP = re.compile(r"(Epoch:\[\d+/\d+\]|Eval:\[(?P<set>.*)\]), step:\[(?P<step>\d+)/")
"""How a line for people tells of a step, or of an evaluation after it."""


class RunLog:
    """Writes a line a step to `train_log.jsonl` and, every `logging_steps`, one for people.

    Some losses add fields: `gap_std` (with `loss.ensemble`: standard deviation over the members
    of a comparison's gap, mean over comparisons), `squared_error/NAME` (with `loss.attributes`,
    for each). Fields of every `train_log.jsonl` line of kind `train`: `step` and `epoch` (from 1),
    `loss` (weighted mean over the step's comparisons), `mean_loss` (over all steps so far),
    `accuracy` (share of the step's decided comparisons won, before the update), `learning_rate`,
    `grad_norm` (before clipping), `rewards` (of the step's sequences, in the order of the packs),
    `reward_mean`, `num_comparisons`, `num_sequences`, `num_tokens` (each sequence in full),
    `num_tree_tokens` (what went through the layers: shared prefixes once, padding included),
    `share_saved` (1 - tree tokens / tokens), `num_packs`, `pack_fill` (tree tokens / room),
    `num_split_groups` (larger than a pack: computed twice), `seconds`, `pairs_per_second`,
    `peak_memory_bytes` (of the process, resident; on a GPU, allocated there).
    Of kind `eval`: `step`, `name`, `seconds`, the metrics of `results.json` and, where it was
    `model/` that was evaluated, `final`.
    """

    def __init__(
        self,
        run: Path,
        plan: Plan,
        *,
        logging_steps: int,
        trackers: Trackers,
        first_step: int = 1,
    ) -> None:
        self._run = run
        self._plan = plan
        self._logging_steps = logging_steps
        self._jsonl = (run / JSONL).open("a", encoding="utf-8")
        self._text = (run / TEXT).open("a", encoding="utf-8")
        self._console = Console(stderr=False)
        self._bar: Progress | None = None
        self._trackers = trackers
        self._recent: list[StepResult] = []
        self._speeds: list[tuple[int, float]] = []
        self._forecast_after = min(_FORECAST_AFTER, plan.num_steps - first_step + 1)

    def __enter__(self) -> RunLog:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._plan.num_steps, numbers="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        with self._text, self._jsonl:  # On a full disk closing one raises; the other closes too.
            self._trackers.close()

    def step(self, number: int, result: StepResult, mean_loss: float) -> None:
        """Log the 1-based step `number`."""
        self._recent.append(result)
        entry = {
            "kind": "train",
            "step": number,
            "epoch": self._plan.epoch_of(number - 1) + 1,
            "loss": result.loss,
            "mean_loss": mean_loss,
            "accuracy": result.wins / result.num_comparisons if result.num_comparisons else None,
            "learning_rate": result.learning_rate,
            "grad_norm": result.grad_norm,
            **{name: total / units for name, (total, units) in result.parts.items() if units},
            "rewards": result.rewards,
            "reward_mean": result.reward_sum / result.num_sequences,
            "num_comparisons": result.num_comparisons,
            "num_sequences": result.num_sequences,
            "num_tokens": result.num_tokens,
            "num_tree_tokens": result.num_computed_tokens,
            "share_saved": result.share_saved,
            "num_packs": result.num_packs,
            "pack_fill": result.pack_fill,
            "num_split_groups": result.num_split_groups,
            "seconds": result.seconds,
            "pairs_per_second": result.num_comparisons / result.seconds,
            "peak_memory_bytes": result.peak_bytes,
        }
        self._write(entry)
        names = ("loss", "accuracy", "learning_rate", "grad_norm", "reward_mean", *result.parts)
        told = {f"train/{name}": entry.get(name) for name in names}
        floats = {tag: value for tag, value in told.items() if isinstance(value, float)}
        self._trackers.log(floats, (number, "train"))
        line = self._line(number, result, mean_loss)
        if self._bar is not None:
            numbers = f"loss {result.loss:.3f}/{mean_loss:.3f}"
            self._bar.update(self._task, completed=number, numbers=numbers)
        if number == 1 or number % self._logging_steps == 0 or number == self._plan.num_steps:
            self.say(line, on_terminal=False)
            self._recent = []
        if len(self._speeds) < self._forecast_after:
            self._speeds.append((result.num_comparisons, result.seconds))
            if len(self._speeds) == self._forecast_after:
                self.say(self._forecast(number, result))

    def evaluation(
        self,
        number: int,
        name: str,
        metrics: Mapping[str, Any],
        seconds: float,
        *,
        final: bool = False,
        tracked: bool = True,
    ) -> None:
        """Log an evaluation after step `number`.

        Args:
            number: of the step.
            name: of the evaluation set.
            metrics: as in `results.json`.
            seconds: that it took.
            final: it is `model/` that was evaluated.
            tracked: trackers are told, too.
        """
        about = {"kind": "eval", "step": number, "name": name, "seconds": seconds}
        self._write(about | ({"final": True} if final else {}) | dict(metrics))
        if tracked:
            values = {f"eval/{name}/{key}": metrics[key] for key in METRICS}
            self._trackers.log(values, (number, f"{'final' if final else 'eval'}/{name}"))
        low, high = metrics["accuracy_ci95"]
        self.say(
            f"Eval:[{name}], step:[{number}/{self._plan.num_steps}], "
            f"acc:{metrics['accuracy']:.4f} [{low:.3f}, {high:.3f}], loss:{metrics['loss']:.4f}, "
            f"margin:{metrics['mean_margin']:.4f}, "
            f"comparisons:{metrics['num_comparisons']}, time:{seconds * 1000:.3f} ms"
        )

    def say(self, line: str, *, on_terminal: bool = True) -> None:
        """A line into `train.log` and the output; under a live bar only what matters."""
        self._text.write(line + "\n")
        self._text.flush()
        if self._bar is None or on_terminal:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line(self, number: int, result: StepResult, mean_loss: float) -> str:
        seconds = sum(step.seconds for step in self._recent)
        comparisons = sum(step.num_comparisons for step in self._recent)
        wins = sum(step.wins for step in self._recent)
        accuracy = f"{wins / comparisons:.4f}" if comparisons else "-"
        return (
            f"Epoch:[{self._plan.epoch_of(number - 1) + 1}/{self._plan.num_epochs}], "
            f"step:[{number}/{self._plan.num_steps}], loss:[{result.loss:.3f}/{mean_loss:.3f}], "
            f"time:{1000 * seconds / len(self._recent):.3f} ms, lr:{result.learning_rate:.3g}, "
            f"grad_norm:{result.grad_norm:.3f}, acc:{accuracy}, "
            f"pairs/s:{comparisons / seconds:.2f}, {self._tokens()}"
        )

    def _tokens(self) -> str:
        """Logical and computed tokens of the recent steps, and how full their packs were."""
        logical = sum(step.num_tokens for step in self._recent)
        computed = sum(step.num_computed_tokens for step in self._recent)
        if not computed:
            return f"tokens:{logical}, none computed again"
        room = sum(step.room for step in self._recent)
        split = sum(step.num_split_groups for step in self._recent)
        what = "tree" if self._recent[-1].engine == "tree" else "computed"
        saved = 1 - computed / logical
        change = f"{saved:.0%} saved" if saved >= 0 else f"{-saved:.0%} more"
        split_groups = "1 group" if split == 1 else f"{split} groups"
        return (
            f"tokens:{logical}, {what} tokens:{computed} ({change}), "
            f"pack fill:{computed / room:.0%}"
            + (f", larger than a pack: {split_groups}, computed twice" if split else "")
        )

    def _forecast(self, number: int, result: StepResult) -> str:
        """What a run costs, said when it is known: speed, memory, time that is left."""
        pairs, seconds = (sum(values) for values in zip(*self._speeds, strict=True))
        left = (self._plan.num_steps - number) * seconds / len(self._speeds)
        return (
            f"after {len(self._speeds)} steps: {pairs / seconds:.2f} pairs/s, peak memory "
            f"{result.peak_bytes / 2**30:.1f} GiB"
            + (f", about {_duration(left)} left, evaluations not counted" if left else "")
        )

    def _write(self, entry: dict[str, Any]) -> None:
        self._jsonl.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._jsonl.flush()


class Silence:
    """The log of a process that is not the first: it says nothing."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is open."""

    def say(self, *ignored: object, **settings: object) -> None:
        """Nothing."""

    step = evaluation = say


def _duration(seconds: float) -> str:
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def cut_log(run: Path, step: int) -> list[Entry]:
    """Drop what was logged after `step`: a resumed run writes it again, for programs and people.

    So does the evaluation of `model/`, which comes after the last checkpoint.

    Returns:
        what was dropped.
    """
    path = run / JSONL
    if not path.exists():
        return []
    lines: list[str] = []
    kept: set[Entry] = set()
    dropped: list[Entry] = []
    for line in _whole_lines(path):
        fields = json.loads(line)
        kind = "final" if fields.get("final") else fields["kind"]
        entry = fields["step"], kind if kind == "train" else f"{kind}/{fields['name']}"
        if entry[0] <= step and kind != "final":
            lines.append(line)
            kept.add(entry)
        else:
            dropped.append(entry)
    write_text(path, "".join(lines))
    if (run / TEXT).exists():
        write_text(run / TEXT, "".join(_lines_until(run / TEXT, step, kept)))
    return dropped


def _lines_until(path: Path, step: int, kept: set[Entry]) -> Iterator[str]:
    """The lines for people up to the first one that tells of what comes after a step."""
    expected = set(kept)
    for line in _whole_lines(path):
        found = _STEP.match(line)
        if found is not None and found["set"] is not None:
            entry = int(found["step"]), f"eval/{found['set']}"
            if entry not in expected:
                return
            expected.remove(entry)
        elif found is not None and int(found["step"]) > step:
            return
        yield line


def _whole_lines(path: Path) -> Iterator[str]:
    """Lines that were written to their end; a kill may have cut the last."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield line
