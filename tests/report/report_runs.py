"""Directories as training, `assay eval` and `assay probe` leave them; numbers come from a seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.audit.signals import TOKENS
from assay.evaluate.agreement import Rated, rank_agreement
from assay.evaluate.best_of_n import best_of_n
from assay.evaluate.calibration import calibration
from assay.evaluate.metrics import Scored, comparison_metrics
from assay.evaluate.shortcuts import shortcut_tables
from assay.evaluate.slices import by_name, by_quantile

Row = dict[str, Any]
Texts = Callable[[int], tuple[str, str, str]]
"""Prompt, better and worse answer of a row."""

RECIPE = """model: {path: a-model, dtype: float32, template: auto}
lora: null
data: {train: [{path: train.jsonl}]}
train: {learning_rate: 0.001, lr_scheduler_type: cosine, global_batch_size: 8, seed: 42}
loss: {kind: bradley_terry}
"""
EVIL = (
    "</script><script>alert('x')</script> & \"quoted\" \x00\x07\x1b\x7f\x85 \ud800 "
    "</article></main>"
)
ARABIC = "عاصمة فرنسا هي باريس، وهي أكبر مدنها."
HEBREW = "מרתיחים מים, מוסיפים עלי תה ומחכים שלוש דקות."
CHINESE = "谎报火警是违法的，消防车被你骗来，真着火的人家就没人去救。"


def plain_texts(number: int) -> tuple[str, str, str]:
    """English."""
    return f"Question {number}?", f"A good answer {number}, at length.", f"A bad answer {number}."


def odd_texts(number: int) -> tuple[str, str, str]:
    """Right-to-left, Chinese, and texts that would break a page that does not escape."""
    kinds = [
        (ARABIC, HEBREW, ARABIC.replace("باريس", "ليون")),
        (CHINESE, CHINESE.replace("消防车", "警车"), CHINESE),
        (EVIL, f"{EVIL} one", f"{EVIL} two"),
        ("x" * 3000, "unbroken" * 200, "word " * 300),
    ]
    return kinds[number % len(kinds)]


def comparison_rows(count: int, texts: Texts = plain_texts, seed: int = 0) -> list[Row]:
    """Rows of `comparisons.jsonl`: three to a prompt, the model right in about 80%."""
    rng = np.random.default_rng(seed)
    chosen = rng.normal(0.8, 1.0, count).round(6).tolist()
    rejected = rng.normal(-0.3, 1.0, count).round(6).tolist()
    lengths = rng.integers(20, 400, (count, 2)).tolist()
    rows = []
    for number, (better, worse) in enumerate(zip(chosen, rejected, strict=True)):
        prompt, first, second = texts(number)
        margin = better - worse
        rows.append(
            {
                "row": f"rows.jsonl:{number + 1}",
                "group": f"prompt {number // 3}",
                "result": "win" if margin > 0 else "tie" if margin == 0 else "loss",
                "margin": margin,
                "chosen_reward": better,
                "rejected_reward": worse,
                "chosen_tokens": lengths[number][0],
                "rejected_tokens": lengths[number][1],
                "tags": {"category": ("safety", "数学", "code & <b>")[number % 3]},
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": first}],
                "rejected": [{"role": "assistant", "content": second}],
            }
        )
    return rows


def results_of(rows: list[Row], *, ratings: bool = False) -> Row:
    """`results.json` of rows."""
    scored = [
        Scored(
            row["group"],
            row["chosen_reward"],
            row["rejected_reward"],
            row["chosen_tokens"],
            row["rejected_tokens"],
            "/".join(row["tags"].values()),
        )
        for row in rows
    ]
    margin_C = np.array([one.margin for one in scored])
    prompt_C = np.unique([one.prompt for one in scored], return_inverse=True)[1]
    tokens_C = np.array([float(one.chosen_tokens) for one in scored])
    sign_C = np.sign([one.chosen_tokens - one.rejected_tokens for one in scored]).astype(np.int8)
    found = comparison_metrics(scored) | {
        "calibration": calibration(margin_C, prompt_C),
        "by_length": {"prompt": by_quantile(tokens_C, margin_C, prompt_C)},
        "by_language": by_name(
            [("latin", "han")[number % 2] for number in range(len(rows))], margin_C, prompt_C
        ),
        "shortcuts": shortcut_tables({TOKENS[0]: sign_C}, margin_C, prompt_C),
        "skipped": {
            "count": 1,
            "reasons": {"over 512 tokens": 1},
            "rows": [{"row": "rows.jsonl:0", "reason": "over 512 tokens"}],
        },
        "model": "run/model",
        "input": "rows.jsonl",
        "input_sha256": "ab" * 32,
        "format": "hh",
        "rows": len(rows) + 1,
        "bad_rows": 0,
    }
    if ratings:
        rng = np.random.default_rng(1)
        rated = [
            Rated(number, tuple(rng.integers(1, 6, 4).tolist()), tuple(rng.normal(size=4).tolist()))
            for number in range(30)
        ]
        about = {"higher_is_better": True}
        found["best_of_n"] = {"helpfulness": about | {"curve": best_of_n(rated)}}
        found["rank_agreement"] = {"helpfulness": about | rank_agreement(rated)}
    return found


def write_json(path: Path, value: object) -> Path:
    """A JSON file; its directory is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_lines(path: Path, rows: list[Row]) -> Path:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluation(
    directory: Path, count: int = 60, texts: Texts = plain_texts, *, ratings: bool = False
) -> Path:
    """What `assay eval --output` leaves."""
    rows = comparison_rows(count, texts)
    write_lines(directory / "comparisons.jsonl", rows)
    write_json(directory / "results.json", results_of(rows, ratings=ratings))
    return directory


def log_lines(steps: int, evals: Mapping[str, int] | None = None) -> list[Row]:
    """Lines of `train_log.jsonl`; sets of `evals` are evaluated every so many steps."""
    lines: list[Row] = []
    for step in range(1, steps + 1):
        lines.append(
            {
                "kind": "train",
                "step": step,
                "loss": 0.7 / step**0.3,
                "accuracy": min(1.0, 0.5 + step / (2 * steps)),
                "learning_rate": 1e-3 * (1 - step / steps),
                "grad_norm": 1.5,
                "reward_mean": 0.1,
                "num_comparisons": 8,
                "num_tokens": 900,
                "seconds": 0.25,
                "peak_memory_bytes": 2**30,
                "rewards": [0.5] * 16,
            }
        )
        for name, every in (evals or {}).items():
            if step % every == 0:
                low = 0.6 + step / (4 * steps)
                lines.append(
                    {
                        "kind": "eval",
                        "step": step,
                        "name": name,
                        "accuracy": low + 0.05,
                        "accuracy_ci95": [low, low + 0.1],
                        "loss": 0.6,
                        "mean_margin": 0.4,
                    }
                )
    return lines


def run(
    directory: Path,
    *,
    steps: int = 40,
    texts: Texts = plain_texts,
    sets: tuple[str, ...] = ("test", "中文 set"),
    resumed: bool = True,
) -> Path:
    """A finished training run."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "recipe.resolved.yaml").write_text(RECIPE, encoding="utf-8")
    counts = {"rows": 100, "groups": 90, "comparisons": 95, "tokens": 9000}
    dropped = {
        "dropped": {"over 512 tokens": 2, "labelled tie": 3},
        "dropped_rows": [{"row": "train.jsonl:7", "reason": "over 512 tokens"}],
    }
    write_json(
        directory / "run.json",
        {
            "assay_version": "0.1.0",
            "versions": {"torch": "2.13.0"},
            "python": "3.11",
            "machine": "x86_64",
            "data": {"train.jsonl": "cd" * 32},
            "train": counts | dropped,
            "eval": {name: counts | {"prompts_in_training": 4} for name in sets},
            "engine": "tree",
        },
    )
    write_lines(directory / "train_log.jsonl", log_lines(steps, dict.fromkeys(sets, 10)))
    begun = f"90 groups, 95 comparisons, {steps} steps of 8 groups"
    said = [begun, f"Epoch:[1/1], step:[{steps}/{steps}], loss:[0.7/0.7]", "stopped early"]
    said += [begun] if resumed else []
    (directory / "train.log").write_text("\n".join(said) + "\n", encoding="utf-8")
    write_json(directory / "model" / "config.json", {})
    for place, name in enumerate(sets):
        evaluation(directory / "eval" / name, texts=texts, ratings=place == 0)
    write_json(directory / "probe" / "probe.json", probe())
    return directory


def probe() -> Row:
    """`probe.json`."""
    shared = {"says": "", "n": 50, "num_prompts": 50, "left_out": {}, "num_same_tokens": 0}
    verdicts = [("filler", "not_up", 0.4, "hackable"), ("truncated", "down", -0.8, "ok")]
    return {
        "num_prompts": 50,
        "num_answers": 50,
        "reward_mean": 0.0,
        "reward_sd": 1.5,
        "num_margins": 0,
        "median_margin": None,
        "transforms": [
            shared
            | {
                "transform": name,
                "expected": expected,
                "mean_shift": 1.5 * shift,
                "mean_shift_ci95": [1.5 * shift - 0.3, 1.5 * shift + 0.3],
                "mean_shift_sd": shift,
                "mean_shift_sd_ci95": [shift - 0.2, shift + 0.2],
                "mean_shift_margins": None,
                "wrong_share": 0.7,
                "verdict": verdict,
                "worst": [{"row": "r:1", "shift": 1.0, "shift_sd": 0.9, "answer": EVIL}],
            }
            for name, expected, shift, verdict in verdicts
        ],
        "skipped": [{"row": "r:9", "reason": "over 512 tokens"}],
        "input": "rows.jsonl",
        "bad_rows": 0,
    }
