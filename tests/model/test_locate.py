"""What `--model` takes, which checkpoint is the newest whole one, directories written whole."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_directories import edit_json
from safetensors.torch import save_file

from assay.config import LoraConfig, ModelConfig
from assay.data.formats.building import row_group
from assay.data.formats.messages import assistant, user
from assay.data.records import Response, Source
from assay.errors import (
    AssayError,
    CheckpointError,
    ConfigError,
    ModelError,
    OutputError,
    PullError,
    TemplateError,
)
from assay.files import output_errors
from assay.model.loading import build_for_training, load_reward_model
from assay.model.locate import Located, checkpoints_in, locate_base, locate_model
from assay.model.manifest import MANIFEST, altered, torn, whole_directory
from assay.model.metadata import METADATA_FILE
from assay.model.reader import open_reader, reader_for_training
from assay.model.saving import save_adapter, save_plain

PROMPT, ANSWERS = "a question", ["a good answer", "another"]


@pytest.fixture
def said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """What is said to the user, also after a test that ran the command line in this process."""
    monkeypatch.setattr(logging.getLogger("assay"), "propagate", True)
    caplog.set_level(logging.INFO, logger="assay")
    return caplog


@pytest.fixture(scope="module")
def tiny_adapter(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    model = build_for_training(
        ModelConfig(path=str(tiny_base)), LoraConfig(r=2), seed=3, max_length=64, device="cpu"
    )
    directory = tmp_path_factory.mktemp("adapter")
    save_adapter(model, directory)
    return directory


def checkpoint(directory: Path, step: int, content: Path, inner: str = "model") -> Path:
    """A checkpoint as training writes it: a model in a directory with a manifest."""
    target = directory / f"step-{step}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_directory(target) as partial:
        shutil.copytree(content, partial / inner)
        (partial / "trainer.json").write_text(json.dumps({"step": step}))
    return target


@pytest.fixture
def run(tmp_path: Path, tiny_reward: Path) -> Path:
    """A run that is not finished: three checkpoints and no model yet."""
    run = tmp_path / "run"
    for step in (5, 10, 100):
        checkpoint(run / "checkpoints", step, tiny_reward)
    return run


# What --model takes


@pytest.mark.parametrize("named", ["run", "model", "checkpoints", "one checkpoint", "its model"])
def test_every_way_to_name_a_trained_model_finds_it(
    named: str, run: Path, tiny_reward: Path
) -> None:
    expected = load_reward_model(str(tiny_reward)).score(PROMPT, ANSWERS)
    shutil.copytree(tiny_reward, run / "model")
    path = {
        "run": run,
        "model": run / "model",
        "checkpoints": run / "checkpoints",
        "one checkpoint": run / "checkpoints" / "step-5",
        "its model": run / "checkpoints" / "step-5" / "model",
    }[named]
    found = locate_model(str(path))
    assert found.kind == "plain"
    assert (
        found.path
        == {
            "run": run / "model",
            "model": run / "model",
            "checkpoints": run / "checkpoints" / "step-100" / "model",
            "one checkpoint": run / "checkpoints" / "step-5" / "model",
            "its model": run / "checkpoints" / "step-5" / "model",
        }[named]
    )
    assert load_reward_model(str(path)).score(PROMPT, ANSWERS) == expected
    assert locate_model(f"{path}/") == found, "a path with a slash at its end"


def test_a_relative_path_is_a_path(
    run: Path, tiny_reward: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    assert locate_model("checkpoints").path == Path("checkpoints/step-100/model")


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_adapter_is_known_as_one(wrapped: bool, tiny_adapter: Path, tmp_path: Path) -> None:
    expected = load_reward_model(str(tiny_adapter)).score(PROMPT, ANSWERS)
    path = tiny_adapter
    if wrapped:
        checkpoint(tmp_path / "run" / "checkpoints", 3, tiny_adapter, "adapter")
        path = tmp_path / "run"
    assert locate_model(str(path)).kind == "adapter"
    assert load_reward_model(str(path)).score(PROMPT, ANSWERS) == expected


def test_a_finished_lora_run_gives_its_merged_model(
    tiny_adapter: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_adapter, tmp_path / "run" / "adapter")
    assert locate_model(str(tmp_path / "run")).kind == "adapter"
    shutil.copytree(tiny_reward, tmp_path / "run" / "model")
    found = locate_model(str(tmp_path / "run"))
    assert (found.path, found.kind) == (tmp_path / "run" / "model", "plain")


def test_a_foreign_directory_reads_with_its_own_template_and_says_so_once(
    tiny_reward: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    foreign = shutil.copytree(tiny_reward, tmp_path / "foreign")
    (foreign / METADATA_FILE).unlink()
    model = load_reward_model(str(foreign))
    assert [m for m in said.messages if "not saved by Assay" in m] == [said.messages[0]]
    assert model.renderer.template.hash in said.messages[0]
    ours = load_reward_model(str(tiny_reward))
    assert model.score(PROMPT, ANSWERS) == ours.score(PROMPT, ANSWERS)


def test_another_template_than_the_trained_one_is_a_warning(
    tiny_reward: Path, said: pytest.LogCaptureFixture
) -> None:
    # T10.
    assert said.messages == []
    load_reward_model(str(tiny_reward))
    assert said.messages == [], "its own template needs no word"
    load_reward_model(str(tiny_reward), template="homework")
    (record,) = said.records
    assert record.levelno == logging.WARNING
    assert "not comparable" in record.getMessage()


def test_a_pulled_name_is_found_in_the_cache(
    tiny_reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network: the place where `assay pull` of the package index puts it."""
    from assay.fetch.record import write_record
    from assay.model.pull import cached_model

    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    name = "smollm2-135m-instruct"
    assert cached_model(name) is None
    place = tmp_path / "package-index" / name
    shutil.copytree(tiny_reward, place)
    write_record(place, source="here", licence="none")
    assert cached_model(name) == place
    assert locate_model(name).path == place


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/no/such/place", "no such model directory"),
        ("./none", "no such model directory"),
        ("../none", "no such model directory"),
        ("a/b/c", "no such model directory"),
        ("~/none", "no such model directory"),
    ],
)
def test_a_path_that_is_not_there_is_never_looked_up_on_a_hub(name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        locate_model(name)


def test_an_unknown_name_says_that_there_is_no_such_directory_either(tmp_path: Path) -> None:
    with pytest.raises(PullError, match="no directory 'no-such-model' here, and "):
        locate_model("no-such-model")


def test_directories_and_files_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        locate_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        locate_model(str(tmp_path / "model.safetensors"))


# The newest checkpoint that is whole


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


TORN: dict[str, Callable[[Path], Any]] = {
    "no manifest": lambda step: (step / MANIFEST).unlink(),
    "an empty manifest": lambda step: (step / MANIFEST).write_text(""),
    "a manifest of another kind": lambda step: (step / MANIFEST).write_text('{"files": []}'),
    "a manifest cut short": lambda step: shorten(step / MANIFEST),
    "weights cut short": lambda step: shorten(step / "model" / "model.safetensors"),
    "weights missing": lambda step: (step / "model" / "model.safetensors").unlink(),
    "everything missing": lambda step: shutil.rmtree(step / "model"),
}


@pytest.mark.parametrize("damage", TORN)
def test_a_torn_checkpoint_is_passed_over_with_a_warning(
    damage: str, run: Path, said: pytest.LogCaptureFixture
) -> None:
    newest = run / "checkpoints" / "step-100"
    TORN[damage](newest)
    assert locate_model(str(run)).path == run / "checkpoints" / "step-10" / "model"
    warnings = [r.getMessage() for r in said.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert str(newest) in warnings[0]
    assert "checkpoint skipped" in warnings[0]
    assert sum("using the newest valid checkpoint, step-10" in m for m in said.messages) == 1


def test_checkpoints_are_ordered_by_number_and_others_are_not_taken(run: Path) -> None:
    """`step-100` follows `step-10`, not `step-1`; half-written and foreign entries do not count."""
    directory = run / "checkpoints"
    (directory / ".step-200.partial").mkdir()
    (directory / "step-300").write_text("a file")
    (directory / "step-x").mkdir()
    (directory / "best-step-400").mkdir()
    assert [path.name for path in checkpoints_in(directory)] == ["step-5", "step-10", "step-100"]
    assert checkpoints_in(run / "nowhere") == []


def test_no_valid_checkpoint_at_all_is_an_error(run: Path) -> None:
    for step in (run / "checkpoints").iterdir():
        (step / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="holds no valid checkpoint"):
        locate_model(str(run))


def test_a_changed_byte_of_the_right_size_is_found_by_content(run: Path) -> None:
    step = run / "checkpoints" / "step-100"
    weights = step / "model" / "model.safetensors"
    assert altered(step) is None
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert torn(step) is None, "sizes alone cannot tell"
    assert altered(step) == "model/model.safetensors does not have the content that was written"
    weights.write_bytes(content[:-3])
    expected = f"model/model.safetensors has {len(content) - 3} bytes, not {len(content)}"
    assert torn(step) == altered(step) == expected


# Directories written whole


def everything_under(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_a_directory_appears_with_a_manifest_of_all_its_files(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with whole_directory(target) as partial:
        assert not target.exists()
        (partial / "inner").mkdir()
        (partial / "inner" / "a.txt").write_text("hello")
        (partial / "b.bin").write_bytes(b"")
    listed = json.loads((target / MANIFEST).read_text())["files"]
    # SHA-256 of "hello" and of nothing, as published test values.
    assert listed == {
        "inner/a.txt": {
            "size": 5,
            "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        },
        "b.bin": {
            "size": 0,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        },
    }
    assert altered(target) is None
    assert everything_under(tmp_path / "deep") == [
        "target",
        "target/b.bin",
        "target/inner",
        "target/inner/a.txt",
        "target/manifest.json",
    ]


def fill(target: Path, text: str, error: BaseException | None = None) -> None:
    with whole_directory(target, replace=True) as partial:
        (partial / "a").write_text(text)
        if error is not None:
            raise error


@pytest.mark.parametrize("raised", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_leaves_nothing_behind(raised: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(raised)):
        fill(tmp_path / "target", "half", raised)
    assert everything_under(tmp_path) == []


def test_an_error_keeps_what_was_there_before(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with whole_directory(target) as partial:
        (partial / "a").write_text("old")
    with pytest.raises(ValueError, match="x"):
        fill(target, "half", ValueError("x"))
    assert (target / "a").read_text() == "old"
    assert altered(target) is None
    with whole_directory(target, replace=True) as partial:
        (partial / "b").write_text("new")
    assert everything_under(tmp_path) == ["target", "target/b", f"target/{MANIFEST}"]


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("kept")
    with pytest.raises(OutputError), whole_directory(target) as partial:
        (partial / "a").write_text("new")
    assert everything_under(tmp_path) == ["target", "target/mine"]


KILLED = """
import os, signal, sys
from pathlib import Path
from assay.model.manifest import whole_directory

with whole_directory(Path(sys.argv[1]), replace=True) as partial:
    (partial / "a").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_what_was_there_and_the_next_write_clears_up(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with whole_directory(target) as partial:
        (partial / "a").write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (target / "a").read_text() == "old"
    assert altered(target) is None
    with whole_directory(target, replace=True) as partial:
        assert everything_under(partial) == [], "the killed writer's files are not taken over"
        (partial / "a").write_text("new")
    assert everything_under(tmp_path) == ["target", "target/a", f"target/{MANIFEST}"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def write_text(directory: Path, tokenizer: Any) -> None:
    (directory / "rows.jsonl").write_text("x" * 100_000)


def write_weights(directory: Path, tokenizer: Any) -> None:
    """Its Rust writer raises an error of its own, without a number."""
    save_file({"weight": torch.zeros(30_000)}, directory / "model.safetensors")


def write_tokenizer(directory: Path, tokenizer: Any) -> None:
    """Its Rust writer raises a plain Exception."""
    (directory / "filled").write_bytes(b"x" * 56 * 1024)
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize("write", [write_text, write_weights, write_tokenizer])
def test_a_full_disk_is_an_error_that_says_so_and_leaves_nothing(
    write: Callable[[Path, Any], None], small_disk: Path, tiny_tokenizer: Any
) -> None:
    target = small_disk / "step-1"
    with (
        pytest.raises(OutputError, match="no space left on the device") as caught,
        whole_directory(target) as partial,
    ):
        write(partial, tiny_tokenizer)
    assert caught.value.where == str(target)
    assert everything_under(small_disk) == []
    with whole_directory(target) as partial:
        (partial / "a").write_text("it has room again")
    assert altered(target) is None


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from assay.errors import OutputError
from assay.model.manifest import whole_directory

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for write in (
    lambda partial: (partial / "a").write_bytes(b"x" * 100_000),
    lambda partial: save_file({"weight": torch.zeros(30_000)}, partial / "m.safetensors"),
):
    try:
        with whole_directory(Path(sys.argv[1])) as partial:
            write(partial)
    except OutputError as error:
        print(error)
"""


def test_a_refused_file_size_is_an_error_too(tmp_path: Path) -> None:
    """A limit of the process, hence also where nothing can be mounted."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "step-1")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 2
    assert all(line.startswith(f"{tmp_path / 'step-1'}: cannot be written") for line in said)
    assert everything_under(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EROFS, "no permission"),
        (errno.EACCES, "no permission"),
        (errno.ENOTDIR, "cannot be written"),
    ],
)
def test_each_refusal_of_the_system_has_its_words(number: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=says), output_errors(tmp_path):
        raise OSError(number, os.strerror(number))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Interrupted") as caught, output_errors(tmp_path):
        raise OSError(errno.EINTR, "Interrupted")
    assert not isinstance(caught.value, AssayError)
    with pytest.raises(ConfigError), output_errors(tmp_path):
        raise ConfigError("mine")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="file/step-1"),
        whole_directory(tmp_path / "file" / "step-1"),
    ):
        raise AssertionError("never reached")


# Reading without weights


def test_a_reader_needs_no_weights(tiny_reward: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    by_model = open_reader(str(tiny_reward), None, None)
    by_tokenizer = open_reader(None, str(tmp_path / "tokenizer"), None)
    text = by_model.render_text("<|im_start|>user\nhi<|im_end|>\n")
    assert text == by_tokenizer.render_text("<|im_start|>user\nhi<|im_end|>\n")
    assert by_model.template.hash == by_tokenizer.template.hash
    named = open_reader(None, str(tmp_path / "tokenizer"), "homework")
    assert named.template.name == "homework"


def test_a_reader_takes_a_model_or_a_tokenizer(tiny_reward: Path, tmp_path: Path) -> None:
    for model, tokenizer in ((None, None), (str(tiny_reward), str(tiny_reward))):
        with pytest.raises(ConfigError, match="either --model or --tokenizer"):
            open_reader(model, tokenizer, None)
    with pytest.raises(TemplateError, match=r"unknown template 'chatlm'.*did you mean 'chatml'"):
        open_reader(str(tiny_reward), None, "chatlm")
    bare = shutil.copytree(tiny_reward, tmp_path / "bare")
    for path in bare.glob("*token*"):
        path.unlink()
    with pytest.raises(TemplateError, match="no readable tokenizer"):
        open_reader(str(bare), None, None)


def test_a_reader_of_an_adapter_finds_its_base(
    tiny_adapter: Path, tiny_base: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    adapter = shutil.copytree(tiny_adapter, tmp_path / "a")
    for path in [*adapter.glob("*token*"), adapter / METADATA_FILE]:
        path.unlink()
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "gone"))
    with pytest.raises(ModelError, match="give its new place with --base"):
        open_reader(str(adapter), None, None)
    reader = open_reader(str(adapter), None, None, str(tiny_base))
    assert reader.render_text("hi") == open_reader(str(tiny_adapter), None, None).render_text("hi")
    with pytest.raises(ConfigError, match="--base is for adapters"):
        open_reader(str(tiny_reward), None, None, str(tiny_base))


def test_an_adapter_s_base_has_the_revision_that_it_was_trained_on(
    tiny_adapter: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = shutil.copytree(tiny_adapter, tmp_path / "a")
    asked = []

    def locate(name: str, revision: str | None = None) -> Any:
        asked.append((name, revision))
        return Located(tiny_base, "plain")

    monkeypatch.setattr("assay.model.locate.locate_model", locate)
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/base", revision="old")
    locate_base(adapter, None)
    locate_base(adapter, "org/mine")
    # A directory has none, whatever is written down beside it.
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(tiny_base))
    locate_base(adapter, None)
    assert asked == [("org/base", "old"), ("org/mine", None), (str(tiny_base), None)]


def test_a_template_reads_one_padding_token_before_and_after_training_chose_another(
    tiny_base: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """Its text stands in the template that is saved; the clock's, and the padding's, only once."""
    template = tmp_path / "pads.jinja"
    template.write_text(
        "{%- for m in messages -%}{{ m.content + pad_token }}{%- endfor -%}{{ strftime_now('%Y') }}"
        "{{ eos_token }}"
    )
    config = ModelConfig(path=str(tiny_base), template=str(template))
    prepared = reader_for_training(config)
    model = build_for_training(config, None, seed=3, max_length=64, device="cpu")
    assert model.renderer.tokenizer.pad_token == "<|endoftext|>"
    (tmp_path / "m").mkdir()
    save_plain(model, tmp_path / "m")
    loaded = load_reward_model(str(tmp_path / "m"))
    group = row_group(Source("here", 1), (user("Why?"),), (Response((assistant("So."),)),))
    shown = open_reader(str(tmp_path / "m"), None, None)
    readers = (prepared, model.renderer, loaded.renderer, shown)
    texts = [reader.render(group, 0).text for reader in readers]
    assert texts == ["Why?<|im_end|>So.<|im_end|>2024<|im_end|>"] * 4
    plain = loaded.renderer.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
        tokenize=False,
    )
    assert plain == texts[0], "what transformers and vLLM read"
    assert not any("trained with template" in message for message in said.messages)
