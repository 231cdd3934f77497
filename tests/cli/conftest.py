"""What the tests of the command line share: the command itself, and tiny models of each kind."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Assay, Models, Ran


@pytest.fixture
def assay(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Assay]:
    """Runs `assay.cli.main` in this process: torch and transformers are imported once."""
    from assay.cli import main

    logger = logging.getLogger("assay")
    held = logger.handlers[:], logger.level, logger.propagate

    def run(*argv: object, stdin: bytes | None = None) -> Ran:
        capfd.readouterr()
        # The handler keeps the stderr of the moment it was made, and each test has another.
        logger.handlers.clear()
        monkeypatch.setattr(sys, "argv", ["assay", *map(str, argv)])
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exited:
            main()
        code = exited.value.code
        captured = capfd.readouterr()
        assert code is None or isinstance(code, int)
        return Ran(code or 0, captured.out, captured.err)

    yield run
    logger.handlers[:], logger.level, logger.propagate = held


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, tiny_reward: Path) -> Models:
    """A language model, a reward model, and a LoRA adapter with its head."""
    from assay.config import LoraConfig, ModelConfig
    from assay.model.loading import build_for_training
    from assay.model.saving import save_adapter

    adapter = tmp_path_factory.mktemp("tiny-adapter")
    save_adapter(
        build_for_training(
            ModelConfig(path=str(tiny_base)),
            LoraConfig(r=2, target_modules=["q_proj"]),
            seed=7,
            max_length=256,
            device="cpu",
        ),
        adapter,
    )
    return Models(tiny_base, tiny_reward, adapter)
