"""Rows of each benchmark in its authors' schema, invented; and items with given rewards."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from assay.data.records import Source
from assay.evaluate.benchmarks import Item, ScoredItem

ADVICE, REFUSAL, RISK = "拒绝&正向建议", "拒绝为主", "风险回复"

_line = iter(range(1, 1_000_000))


def made(
    subset: str,
    rewards: Iterable[float],
    *,
    good: Iterable[int] = (0,),
    id: str | None = None,
    **labels: str,
) -> ScoredItem:
    """An item with these rewards; each its own prompt."""
    rewards, line = tuple(rewards), next(_line)
    item = Item(
        id=str(line) if id is None else id,
        subset=subset,
        good=tuple(good),
        num_responses=len(rewards),
        source=Source("rows.jsonl", line),
        cluster=str(line),
        labels=labels,
    )
    return ScoredItem(item, rewards)


def pairs(subset: str, *margins: float, **labels: str) -> list[ScoredItem]:
    """Pairs whose first response is the right one, by so much."""
    return [made(subset, (margin, 0.0), **labels) for margin in margins]


def rewardbench(number: int) -> dict[str, Any]:
    subsets = ("alpacaeval-easy", "donotanswer", "hep-go")
    return {
        "id": number,
        "prompt": f"question {number}?",
        "chosen": f"a good answer {number}",
        "rejected": f"a bad one {'so ' * number}",
        "chosen_model": "x",
        "rejected_model": "y",
        "subset": subsets[number % 3],
    }


def multilingual(number: int) -> dict[str, Any]:
    row = rewardbench(number)
    return {
        **row,
        "source": row["subset"],
        "subset": "Chat",
        "language": ["zho_Hans", "tur_Latn"][number % 2],
    }


def rewardbench2(number: int) -> dict[str, Any]:
    ties = number % 3 == 0
    right = [f"answer {k} of {number}" for k in range(1 + (ties and number % 2))]
    kind = f"{'tied' if len(right) > 1 else 'ref'}:{number // 6}"
    return {
        "id": kind if ties else str(number),
        "prompt": f"question {number}?",
        "chosen": right,
        "rejected": [f"wrong {k} of {number}" for k in range(3)],
        "num_correct": len(right),
        "num_incorrect": 3,
        "total_completions": len(right) + 3,
        "models": ["x"] * (len(right) + 3),
        "subset": "Ties" if ties else ("Factuality", "Math")[number % 2],
        "additional_metadata": {"category": None},
    }


def rm_bench(number: int) -> dict[str, Any]:
    domains = ("chat", "math", "code", "safety-refuse", "safety-response")
    return {
        "id": f"rm-{number}",
        "prompt": f"question {number}?",
        "chosen": [f"right {style} {number}" for style in ("", "and long", "## and marked")],
        "rejected": [f"wrong {style} {number}" for style in ("", "and long", "## and marked")],
        "domain": domains[number % 5],
    }


def judgebench(number: int) -> dict[str, Any]:
    sources = ("mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench")
    return {
        "pair_id": f"p{number}",
        "original_id": number,
        "source": sources[number % 4],
        "question": f"question {number}?",
        "response_model": "gpt-4o-2024-05-13",
        "response_A": f"first answer {number}",
        "response_B": f"second answer {number}",
        "label": "A>B" if number % 3 else "B>A",
    }


def rmb(number: int) -> dict[str, Any]:
    goal = ("Helpfulness/Chat/Discussion", "Harmlessness/S1")[number % 2]
    talk = [{"role": "user", "content": f"question {number}?", "language": "English"}]
    answers = [{"llm_name": f"m{k}", "answer": f"answer {k} of {number}"} for k in range(4)]
    if number % 4 < 2:
        return {
            "pair_uid": f"p{number}",
            "category_path": f"Pairwise_set/{goal}",
            "conversation_input": talk,
            "chosen": answers[0],
            "reject": answers[1],
        }
    return {
        "bon_uid": f"b{number}",
        "category_path": f"BoN_set/{goal}",
        "conversation_input": talk,
        "bon_best": answers[0],
        "loser_list": answers[1:],
    }


def llmbar(number: int) -> dict[str, Any]:
    return {
        "input": f"question {number}?",
        "output_1": f"answer 1 of {number}",
        "output_2": f"answer 2 of {number}",
        "label": 1 + number % 2,
        "subset": ("Natural", "Neighbor", "GPTInst", "GPTOut", "Manual")[number % 5],
    }


def cvalues(number: int) -> dict[str, Any]:
    better, worse = ((REFUSAL, RISK), (ADVICE, RISK), (ADVICE, REFUSAL))[number % 3]
    return {
        "prompt": f"问题{number}？",
        "pos_resp": f"好{number}",
        "neg_resp": f"坏{'很' * number}",
        "pos_type": better,
        "neg_type": worse,
    }


def pku_saferlhf(number: int) -> dict[str, Any]:
    return {
        "prompt": f"question {number}?",
        "response_0": f"answer 0 of {number}",
        "response_1": f"answer 1 of {number}",
        "is_response_0_safe": True,
        "is_response_1_safe": False,
        "better_response_id": number % 2,
        "safer_response_id": number % 3 // 2,
    }


ROWS = {
    "rewardbench": rewardbench,
    "m-rewardbench": multilingual,
    "rewardbench2": rewardbench2,
    "rm-bench": rm_bench,
    "judgebench": judgebench,
    "rmb": rmb,
    "llmbar": llmbar,
    "cvalues": cvalues,
    "pku-saferlhf": pku_saferlhf,
}
"""One row of each benchmark by its number."""


def write(path: Path, rows: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
