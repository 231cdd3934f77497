"""Seconds that the metrics and the details of 50,000 comparisons take, on one core, no model.

Comparisons are generated: two answers of about 190 characters to each prompt, rewards drawn from a
seed, token counts about a quarter of the characters. `metrics` are what evaluations during training
compute too, `details` all that `results.json` holds beyond them.

    .venv/bin/python benchmarks/eval_metrics_speed.py [--comparisons 50000] [--repeats 3]

Figures go to benchmarks/results/eval_metrics_speed.json.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

from result_file import RESULTS, write_result

from assay.data.encoding import EncodedData, EncodedGroup
from assay.data.records import Comparison, Group, Message, Response, Source
from assay.evaluate.details import Answers, details_of
from assay.evaluate.metrics import Scored, comparison_metrics

TEXT = (
    "the answer to this is that one would rather first look at what was asked and why it matters "
    "because a careful reader can see more than somebody who only counts words or items in a list"
)
WORDS = TEXT.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    answers = generated(arguments.comparisons)
    scored = [
        Scored(one.group.key, *one.rewards, *one.tokens, tag=f"tag {number % 12}")
        for number, one in enumerate(answers)
    ]
    lengths = [len(r.messages[0].content) for g in answers.data.groups for r in g.group.responses]
    figures = {
        "comparisons": arguments.comparisons,
        "mean_characters": statistics.mean(lengths),
        "metrics_seconds": median_of(arguments.repeats, lambda: comparison_metrics(scored)),
        "details_seconds": median_of(arguments.repeats, lambda: details_of(answers)),
    }
    for name, value in figures.items():
        print(f"{name}: {value:.1f}")
    write_result(RESULTS / "eval_metrics_speed.json", figures, ("assay", "numpy", "scipy"))


def generated(count: int) -> Answers:
    chance = random.Random(0)

    def answer() -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(20, 54)))

    groups, rewards = [], []
    for number in range(count):
        texts = [answer(), answer()]
        source = Source("generated.jsonl", number + 1)
        prompt = (Message("user", f"question {number}: {answer()}?"),)
        group = Group(
            id=str(number),
            source=source,
            prompt=prompt,
            responses=tuple(Response((Message("assistant", text),)) for text in texts),
            comparisons=(Comparison(0, 1, "a", row=source),),
        )
        begin = tuple(range(len(prompt[0].content) // 4))
        sequences = tuple(
            (*begin, *(900 + place + n for n in range(len(text) // 4)))
            for place, text in enumerate(texts)
        )
        groups.append(EncodedGroup(group, sequences))
        rewards.append([chance.gauss(0.5, 1), chance.gauss(0, 1)])
    return Answers(EncodedData(groups), rewards)


def median_of(repeats: int, run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
