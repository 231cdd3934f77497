r"""Scoring 16 answers to each prompt, the work of best-of-16 sampling; float32, CPU.

    .venv/bin/python benchmarks/best_of_speed.py [--vllm-python .venv-vllm/bin/python]
        [--st-python .venv-st/bin/python] [--data FILE] [--prompts 2] [--rounds 5]

Prompts have 256 tokens and answers 128, the template's included, all cut from texts of hh-rlhf with
a fixed seed; the model is SmolLM2-135M with a seeded head. The sides are those of score_speed.py
(which says what each is), in the rounds of score_rounds.py. All texts are equally long, so that
there is nothing to sort and nothing to pad: what is left is the prompt, 16 times or once.

Beyond 1e-3 between rewards: exit code 1. Bars: 1.7 times vLLM with its prefix cache, as installed,
and 2.4 times transformers at its best batch size; a missed one is printed and is no error. Figures
go to benchmarks/results/best_of_speed.json. Takes a quarter of an hour on 2 idle cores.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from command_line import HH, is_missing, parser_of
from result_file import RESULTS
from score_rounds import Settings, add_arguments, concluded, figures_of, measure, settings_with
from starting_model import SMOLLM2, save_starting_model
from tables import commit

from assay import RewardModel
from assay.data.loading import load_groups
from assay.data.records import Group, Message, Response, Source
from assay.data.rendering import Renderer
from assay.data.sources import DataSource

SIDES = ("assay", "transformers", "cross_encoder", "vllm", "vllm_tuned")
BARS = {"transformers": 2.4, "vllm": 1.7}
SEED = 42


def main() -> int:
    arguments = parse_arguments()
    if is_missing(arguments.data):
        return 0
    checked_out = commit()
    shape = f"prompts of {arguments.prompt_tokens} tokens, {arguments.answers} answers of "
    shape += f"{arguments.answer_tokens}"
    settings, measured = measure(arguments, SIDES, settings_of)
    count = arguments.prompts * arguments.answers
    figures = {
        "about": f"{SMOLLM2}, {arguments.prompts} {shape}, float32, {arguments.threads} threads, "
        f"{arguments.rounds} rounds",
        "data": arguments.data.name,
        **figures_of(measured, unit="answers", count=count, bars=BARS),
        "engine_asked_for": arguments.engine,
        "tokens": sum(map(len, settings["timed"]["ids"])),
        "commit": checked_out,
    }
    return concluded(figures, arguments.output)


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_arguments(parser, rounds=5)
    parser.add_argument("--data", type=Path, default=HH, help="where texts are cut from")
    parser.add_argument("--prompts", type=int, default=2, help="of a round")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--answer-tokens", type=int, default=128)
    parser.add_argument("--output", type=Path, default=RESULTS / "best_of_speed.json")
    return parser.parse_args()


def settings_of(arguments: argparse.Namespace, scratch: Path) -> Settings:
    """What the sides need to know: the model, and the groups drawn with a fixed seed."""
    model = scratch / "model"
    save_starting_model(SMOLLM2, model, max_length=1024)
    renderer = RewardModel.load(str(model), device="cpu", dtype="float32").renderer
    texts = Texts(arguments.data, renderer, random.Random(SEED))
    shape = arguments.prompt_tokens, arguments.answers, arguments.answer_tokens
    warm = [texts.group(*shape)]
    timed = [texts.group(*shape) for _ in range(arguments.prompts)]
    return settings_with(arguments, model, renderer, warm=warm, timed=timed, probe=timed[:1])


class Texts:
    """Groups of just so many tokens, cut from all words of a file."""

    def __init__(self, data: Path, renderer: Renderer, draw: random.Random) -> None:
        groups = load_groups([DataSource(str(data))], group_by="row").groups
        said = [message.content for group in groups for message in group.prompt]
        draw.shuffle(said)
        self.renderer, self.draw = renderer, draw
        self.ids = self._ids(" ".join(said))
        self.drawn = 0

    def group(self, prompt_tokens: int, answers: int, answer_tokens: int) -> Group:
        """A prompt with answers, measured as the model reads them."""
        fixed_prompt, fixed_answer = self._read(self._group("a", ["a"]))
        prompt = self._cut(prompt_tokens - fixed_prompt + 1)
        while True:
            found = [self._cut(answer_tokens - fixed_answer + 1) for _ in range(answers)]
            group = self._group(prompt, found)
            if self._read(group) != (prompt_tokens, answer_tokens):
                prompt = self._cut(prompt_tokens - fixed_prompt + 1)
            elif len(set(found)) == answers:
                return group

    def _group(self, prompt: str, answers: Sequence[str]) -> Group:
        self.drawn += 1
        return Group(
            id=str(self.drawn),
            source=Source("cut", self.drawn),
            prompt=(Message("user", prompt),),
            responses=tuple(Response((Message("assistant", text),)) for text in answers),
        )

    def _read(self, group: Group) -> tuple[int, int]:
        """Tokens of the prompt and of each answer; -1 where answers differ."""
        prompt = len(self.renderer.render_text(self.renderer.prompt_text(group)).ids)
        items = [(group, index) for index in range(len(group.responses))]
        lengths = {len(found.ids) - prompt for found in self.renderer.render_many(items)}
        return prompt, lengths.pop() if len(lengths) == 1 else -1

    def _cut(self, length: int) -> str:
        """A piece that has so many tokens by itself, too."""
        while True:
            start = self.draw.randrange(len(self.ids) - length)
            text = str(self.renderer.tokenizer.decode(self.ids[start : start + length])).strip()
            if len(self._ids(text)) == length:
                return text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.renderer.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


if __name__ == "__main__":
    sys.exit(main())
