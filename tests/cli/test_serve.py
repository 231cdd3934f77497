"""`assay serve`: what it refuses before it serves; tests/serve has the rest."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from running import Assay, Models

from assay.cli.commands.serve import _with_own, named_models
from assay.errors import ConfigError
from assay.serve.monitor.watching import MonitorSettings


def refused(assay: Assay, *argv: object) -> str:
    ran = assay("serve", *argv)
    assert ran.code == 2, ran.err
    (line,) = ran.errors
    return line


def test_what_cannot_be_is_said_before_a_model_is_loaded(assay: Assay, tmp_path: Path) -> None:
    nowhere = ("--model", tmp_path / "none")
    assert "no such model directory" in refused(assay, *nowhere)
    assert "known: align-anything, assay" in refused(assay, *nowhere, "--protocol", "vlm")
    assert "did you mean 'llama3'" in refused(assay, *nowhere, "--input-template", "llama")
    assert "cannot be read" in refused(assay, *nowhere, "--api-key-file", tmp_path / "keys")
    assert "--tls-key without --tls-cert" in refused(assay, *nowhere, "--tls-key", "key.pem")
    certificate = tmp_path / "cert.pem"
    assert "No such file" in refused(assay, *nowhere, "--tls-cert", certificate)
    certificate.write_text("none", encoding="utf-8")
    assert "not a certificate and key" in refused(assay, *nowhere, "--tls-cert", certificate)
    line = refused(assay, *nowhere, "--tls-cert", certificate / "cert.pem", "--tls-key", "key.pem")
    assert "cert.pem, key.pem: cannot be used (Not a directory)" in line
    small = ("--max-queue-tokens", 10)
    assert "only 10 may wait" in refused(assay, *nowhere, *small)
    assert "max-body-bytes" in refused(assay, *nowhere, "--max-body-bytes", 2**40)
    assert "something else" in refused(assay, *nowhere, "--monitor-log", certificate)
    scores = tmp_path / "scored.jsonl"
    assert "cannot be read" in refused(assay, *nowhere, "--reference-scores", scores)
    scores.write_text('{"assay": {"scores": [1, 1]}}\n', encoding="utf-8")
    assert "no reference" in refused(assay, *nowhere, "--reference-scores", scores)
    scores.write_text('{"assay": {"scores": [1, 2]}}\n', encoding="utf-8")
    for given in (scores, f"c={scores}"):
        line = refused(assay, "--model", "a=x", "--model", "b=y", "--reference-scores", given)
        assert "NAME=FILE, once for each of: a, b" in line


def test_names() -> None:
    assert named_models(["runs/a"], None) == {"runs/a": "runs/a"}
    assert named_models(["a=runs/a", "b=runs/b=c"], None) == {"a": "runs/a", "b": "runs/b=c"}
    assert named_models(["runs/a=b"], None) == {"runs/a=b": "runs/a=b"}
    assert named_models(["runs/a"], "rm") == {"rm": "runs/a"}
    with pytest.raises(ConfigError, match="two models"):
        named_models(["a=x", "a=y"], None)
    with pytest.raises(ConfigError, match="one name for several"):
        named_models(["a=x", "b=y"], "rm")


def test_a_directory_is_served_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients do not learn where a model lies."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs/mine/model", "others/mine", "model"):
        Path(name).mkdir(parents=True)
    Path("latest").symlink_to("runs/mine")
    for given, name in (
        ("runs/mine", "mine"),
        ("runs/mine/", "mine"),
        (f"{tmp_path}/runs/mine/model", "mine"),
        ("latest", "latest"),
        ("runs/..", tmp_path.name),
        (".", tmp_path.name),
        ("others/../model", tmp_path.name),
        ("org/name", "org/name"),
    ):
        assert named_models([given], None) == {name: given}
    assert named_models(["/"], None) == {"/": "/"}
    assert named_models(["runs/mine"], "rm") == {"rm": "runs/mine"}
    with pytest.raises(ConfigError, match="two models are named 'mine'; write NAME=MODEL"):
        named_models(["runs/mine", "others/mine"], None)
    assert list(named_models(["runs/mine", "b=others/mine"], None)) == ["mine", "b"]


def test_values_of_flags_that_cannot_be(assay: Assay) -> None:
    for flag, value, said in (
        ("--precision", "int4", "'int4' is not one of 'full', 'int8'"),
        ("--port", 99999, "should be less than or equal to 65535"),
        ("--deadline", "soon", "should be a valid number"),
    ):
        line = refused(assay, "--model", "x", flag, value)
        assert f"error: Invalid value for '{flag}': {said}" in line
        assert line.endswith("; see assay serve --help")


def test_a_path_with_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=1e-5").mkdir()
    assert named_models(["lr=1e-5"], None) == {"lr=1e-5": "lr=1e-5"}


def test_a_port_that_is_taken_is_said_first(assay: Assay, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(assay, "--model", tmp_path / "none", "--port", port)
    assert f"cannot listen at 127.0.0.1:{port}" in line
    assert "cannot listen at a..b:8000" in refused(assay, "--model", "none", "--host", "a..b")


def test_a_port_that_another_took_at_the_same_time(models: Models) -> None:
    """Both were loading: whoever listens first has it, and the other one says so."""
    from assay.model.reward_model import RewardModel
    from assay.serve.app import create_app
    from assay.serve.running import Listening, bound, run

    with bound(Listening(port=0)) as first:
        port = first.getsockname()[1]
        with bound(Listening(port=port)) as second:
            first.listen()
            served = create_app({"rm": RewardModel.load(str(models.reward), device="cpu")})
            with pytest.raises(ConfigError, match=f"cannot listen at 127.0.0.1:{port}"):
                run(served, Listening(port=port), second, print)


def test_limits_beyond_the_model(assay: Assay, models: Models) -> None:
    line = refused(assay, "--model", models.reward, "--device", "cpu", "--max-length", 1000)
    assert "beyond the model's context of 512" in line


def test_a_tokenizer_behind_a_url_has_no_reference_and_needs_no_weights(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert not _with_own(MonitorSettings(), {"rm": str(tmp_path)}).baselines


def test_without_the_extra(assay: Assay, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("assay.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    line = refused(assay, "--model", models.reward)
    assert "pip install 'assay[serve]'" in line
