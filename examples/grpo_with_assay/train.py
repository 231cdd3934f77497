"""Train a policy with TRL's GRPO on the rewards of a running `assay serve`.

    assay serve --model runs/mine --served-model-name rm --port 8000
    python train.py --server http://localhost:8000 --output out

Without --policy it makes a policy of a few thousand random weights: no download, a CPU, seconds.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    set_seed,
)
from trl import GRPOConfig, GRPOTrainer

from assay.client import RewardClient
from assay.client.trl import reward_function

QUESTIONS = ("What is 2+2?", "Is it safe to mix cleaners?", "Who wrote Faust?", "How far is Mars?")
CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)


def main() -> None:
    """Train, and print what TRL logged of the rewards."""
    options = arguments()
    set_seed(0)
    model, tokenizer = policy(options.policy)
    with RewardClient(options.server) as client:
        client.wait_until_ready()
        print(f"rewards by {client.models()[0]} at {options.server}")

    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward_function(options.server, run=options.run),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": question}]} for question in QUESTIONS]
        ),
        args=GRPOConfig(
            output_dir=str(options.output),
            max_steps=options.steps,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=12,
            learning_rate=1e-3,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
        ),
    )
    trainer.train()

    log = options.output / "log.jsonl"
    with log.open("w", encoding="utf-8") as file:
        for entry in trainer.state.log_history:
            if "reward" in entry:
                print(f"step {entry['step']}: mean reward {entry['rewards/assay/mean']:.6f}")
                file.write(json.dumps(entry) + "\n")
    print(f"every number that TRL logged: {log}")


def policy(path: str | None) -> tuple[Any, Any]:
    """The policy at a path; without one, a random model that reads bytes."""
    if path is not None:
        return AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({byte: index for index, byte in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = CHATML
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config), tokenizer


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="GRPO on the rewards of a running `assay serve`.")
    parser.add_argument("--server", default="http://localhost:8000", help="address of the server")
    parser.add_argument("--policy", help="a causal language model; by default a tiny random one")
    parser.add_argument("--steps", type=int, default=3, help="optimiser steps")
    parser.add_argument("--run", default="grpo-example", help="the run, for the server's records")
    parser.add_argument("--output", type=Path, default=Path("grpo-output"), help="a directory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
