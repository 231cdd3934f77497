"""The real clients of both hubs against a local server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pull_process import finish_pulls, pull_environment, run_pull, start_pulls
from pull_samples import CARD, TEMPLATE, save_hub_model
from pull_server import HubServer, Stall, commit_of

from assay.errors import PullError
from assay.model.pull import pull

HUBS = ["", "modelscope:"]
WANTED = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    root = tmp_path_factory.mktemp("uploads")
    (root / "card").mkdir()
    (root / "card" / "README.md").write_text(CARD)
    (root / "gguf").mkdir()
    (root / "gguf" / "model.gguf").write_bytes(b"GGUF")
    (root / "gguf" / "config.json").write_text("{}")
    return {
        "org/tiny": {
            "default": save_hub_model(root / "first", seed=1),
            "v2/next": save_hub_model(root / "second", seed=2),
        },
        "org/pickled": {"default": save_hub_model(root / "pickled", seed=3, safe=False)},
        "org/card": {"default": root / "card"},
        "org/gguf": {"default": root / "gguf"},
    }


@pytest.fixture
def server(models: dict[str, dict[str, Path]]) -> Iterator[HubServer]:
    with HubServer(dict(models)) as server:
        yield server


@pytest.fixture
def environment(server: HubServer, tmp_path: Path) -> dict[str, str]:
    return pull_environment(tmp_path, HF_ENDPOINT=server.url, MODELSCOPE_ENDPOINT=server.url)


def cached_files(home: Path) -> list[Path]:
    return [path for path in (home / "assay").rglob("*") if path.is_file()]


@pytest.mark.parametrize("hub", HUBS)
def test_files_arrive_as_uploaded(
    hub: str, server: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    result = run_pull(f"{hub}org/tiny", environment)

    path, upload = Path(result["path"]), server.repositories["org/tiny"]["default"]
    assert {file.name for file in path.iterdir()} - {"assay_pull.json"} == WANTED
    for name in WANTED:
        assert (path / name).read_bytes() == (upload / name).read_bytes()
    assert set(server.served) == WANTED, "nothing else may be downloaded"
    assert result["template"] == TEMPLATE
    assert result["licence"] == "qwen"
    assert server.url in result["source"]
    assert "torch" not in result["heavy"] or hub, "torch is what the other client imports"
    client = "modelscope" if hub else "hf"
    kept = [file for file in (tmp_path / client).rglob("model.safetensors")]
    assert kept[0].samefile(path / "model.safetensors"), "weights must not lie on the disk twice"

    server.broken = True
    again = run_pull(f"{hub}org/tiny", environment)
    assert again["path"] == result["path"]
    assert again["heavy"] == []
    assert again["seconds"] < 0.5


@pytest.mark.parametrize("hub", HUBS)
def test_revision_is_honoured(hub: str, server: HubServer, environment: dict[str, str]) -> None:
    pulls = [(f"{hub}org/tiny", revision) for revision in (None, "v2/next")]
    first, second = finish_pulls(start_pulls(pulls, environment))

    assert first["path"] != second["path"]
    for result, revision in ((first, "default"), (second, "v2/next")):
        upload = server.repositories["org/tiny"][revision] / "model.safetensors"
        weights = Path(result["path"]) / "model.safetensors"
        assert weights.read_bytes() == upload.read_bytes()
    assert "revision v2/next" in second["source"]
    assert hub or commit_of("v2/next") in second["source"]


@pytest.mark.parametrize("hub", HUBS)
def test_pickled_weights_only_without_safetensors(
    hub: str, server: HubServer, environment: dict[str, str]
) -> None:
    path = Path(run_pull(f"{hub}org/pickled", environment)["path"])

    pickled = {path.name for path in path.glob("*.bin")}
    assert pickled == {"pytorch_model.bin"}
    assert not list(path.glob("*.safetensors"))


REFUSED = {
    "": [
        ("org/none", None, "no such model, or a private one; check the name"),
        ("org/tiny", "v3", "no revision 'v3'; give --revision"),
        ("org/tiny", "0" * 40, "no revision '0000"),
        ("org/gated", None, "restricted; accept its conditions on its page, then set HF_TOKEN"),
        ("org/card", None, "it has no config.json"),
        ("org/gguf", None, "neither *.safetensors nor pytorch_model*.bin"),
    ],
    "modelscope:": [
        ("org/none", None, "no such model, or no revision 'master' of it"),
        ("org/tiny", "v3", "no such model, or no revision 'v3' of it"),
        ("org/gated", None, "restricted; ask for access on its page"),
        ("org/card", None, "it has no config.json"),
        ("org/gguf", None, "neither *.safetensors nor pytorch_model*.bin"),
    ],
}


@pytest.mark.parametrize("hub", HUBS)
def test_what_a_hub_refuses(
    hub: str, server: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    server.repositories["org/gated"] = server.repositories["org/tiny"]
    server.gated.add("org/gated")
    pulls = [(f"{hub}{name}", revision) for name, revision, _ in REFUSED[hub]]

    results = finish_pulls(start_pulls(pulls, environment))

    for result, (_, _, said) in zip(results, REFUSED[hub], strict=True):
        assert said in result["error"]
        assert server.url in result["error"]
    assert not cached_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "variable"),
    [("org/tiny", "HF_ENDPOINT"), ("modelscope:org/tiny", "MODELSCOPE_ENDPOINT")],
)
def test_connection_refused(name: str, variable: str, tmp_path: Path) -> None:
    environment = pull_environment(tmp_path, **{variable: "http://127.0.0.1:9"})

    error = run_pull(name, environment)["error"]

    assert "Connection refused" in error
    assert f"check the network, or set {variable} to a mirror, or copy" in error
    assert not cached_files(tmp_path)


@pytest.mark.parametrize("hub", HUBS)
def test_hub_that_is_down(hub: str, server: HubServer, environment: dict[str, str]) -> None:
    server.broken = True
    result = run_pull(f"{hub}org/tiny", environment)
    assert "could not fetch the model" in result["error"]
    assert "500" in result["error"]


def test_offline_uses_what_the_client_has(
    server: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    assert "unset HF_HUB_OFFLINE" in run_pull("org/tiny", offline)["error"]
    run_pull("org/tiny", environment)
    elsewhere = {**offline, "ASSAY_CACHE": str(tmp_path / "other")}
    assert run_pull("org/tiny", elsewhere)["licence"] == "qwen"


@pytest.mark.parametrize("hub", HUBS)
def test_killed_download(
    hub: str, server: HubServer, environment: dict[str, str], tmp_path: Path
) -> None:
    server.stall = Stall()
    process = start_pulls([(f"{hub}org/tiny", None)], environment)
    assert server.stall.reached.wait(60)
    process.kill()
    process.communicate()
    server.stall.released.set()
    server.stall = None

    places = [path.name for path in (tmp_path / "assay").glob("*/org/tiny*")]
    assert places == []
    result = run_pull(f"{hub}org/tiny", environment)
    upload = server.repositories["org/tiny"]["default"]
    weights = Path(result["path"]) / "model.safetensors"
    assert weights.read_bytes() == (upload / "model.safetensors").read_bytes()
    assert [path.name for path in weights.parent.parent.iterdir()] == [weights.parent.name]


@pytest.mark.parametrize("hub", HUBS)
def test_two_pulls_at_once(hub: str, server: HubServer, environment: dict[str, str]) -> None:
    processes = [start_pulls([(f"{hub}org/tiny", None)], environment) for _ in range(2)]
    first, second = (finish_pulls(process)[0] for process in processes)

    assert first["path"] == second["path"]
    assert first["source"] == second["source"]
    assert server.served.count("model.safetensors") == 1


def test_modelscope_client_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", None)
    with pytest.raises(PullError, match=r"run `pip install 'assay\[modelscope\]'`"):
        pull("modelscope:org/tiny")
    assert not cached_files(tmp_path)
