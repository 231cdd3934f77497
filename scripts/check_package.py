"""Build wheel and sdist, look into them, and use the wheel as somebody who installs it.

    python scripts/check_package.py [--directory build/package] [--keep]

A clean virtual environment gets torch by `scripts/install-torch`, then the wheel alone, which has
to train and score with what it asks for; then all light extras together, each of which has to
import. The extras that are left out, for they are large, have commands of their own (`ELSEWHERE`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

LIGHT = {
    "client": ("httpx", "assay.client"),
    "demo": ("sklearn.linear_model", "assay.evaluate.baselines"),
    "modelscope": ("modelscope.hub.snapshot_download", "assay.fetch.hub_clients"),
    "qlora": ("bitsandbytes", "assay.model.quantised"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "assay.serve.running"),
    "swanlab": ("swanlab", "assay.train.trackers"),
    "tensorboard": ("tensorboard", "torch.utils.tensorboard", "assay.train.trackers"),
    "trackio": ("trackio", "assay.train.trackers"),
    "wandb": ("wandb", "assay.train.trackers"),
}
"""Extras that are installed here, with what has to import: packages, and where Assay uses them."""
ELSEWHERE = {
    "deepspeed": "make test",
    "dev": "make test",
    "docs": "make docs",
    "mindrecord": "make test-mindrecord",
    "ray": "make test",
}
"""The other extras, and the command that installs and uses each."""

SHIPPED = (
    "assay/py.typed",
    "assay/data/sample/values.train.jsonl",
    "assay/data/sample/values.test.jsonl",
    "assay/serve/playground/files/index.html",
    "assay/serve/playground/files/main.js",
    "assay/data/templates.py",
)
"""What is easily forgotten; besides, all files of src/assay are compared."""
BESIDE = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "constraints.txt", "recipes")
"""What the sdist holds beside src/ and pyproject.toml."""

TINY = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
backend = Tokenizer(models.BPE({token: n for n, token in enumerate([*special, *alphabet])}, []))
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
backend.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>",
    pad_token="<|endoftext|>", additional_special_tokens=special,
)
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024,
    bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
tokenizer.chat_template = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\\n{{ message.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\\n{% endif %}"
)
LlamaForCausalLM(config).save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
"""
"""A tiny random language model, made where only the wheel and what it brings are installed."""

IMPORT_ALL = """
import importlib, pkgutil, sys
import assay

def names(package):
    for found in pkgutil.walk_packages(package.__path__, "assay."):
        if found.name != "assay.__main__":
            yield found.name

assert "site-packages" in assay.__file__, assay.__file__
imported, left = 0, []
for name in names(assay):
    try:
        importlib.import_module(name)
        imported += 1
    except ModuleNotFoundError as error:
        if error.name not in sys.argv[1:]:
            raise
        left.append(name)
print(imported, "modules import;", ", ".join(left) or "none", "without what it is for")
"""


class Failure(Exception):
    """What is wrong with the package, in one line."""


def main() -> None:
    """Build, look, install, use."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "package")
    parser.add_argument("--keep", action="store_true", help="leave the environment there")
    options = parser.parse_args()
    directory: Path = options.directory.absolute()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        wheel = build(directory)
        check_wheel(wheel)
        check_sdist(next(directory.glob("*.tar.gz")))
        check_version(wheel)
        check_extras()
        python = clean_environment(directory)
        use_alone(python, wheel, directory)
        use_extras(python, wheel, directory)
    except Failure as failure:
        sys.exit(f"error: {failure}")
    finally:
        if not options.keep:
            shutil.rmtree(directory / "venv", ignore_errors=True)
    say("the package is whole")


_BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line with the seconds since the start."""
    print(f"{time.monotonic() - _BEGAN:6.0f} s  {text}", flush=True)


def run(*command: object, at: Path, **variables: str) -> str:
    """What a command prints; it has to succeed.

    Nothing of this checkout is on its path: the environment is cleared of what could put it there.
    """
    words = [str(word) for word in command]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        words, cwd=at, env=kept | variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise Failure(f"`{' '.join(words[:6])} ...` exits with {done.returncode}")
    return done.stdout


def build(directory: Path) -> Path:
    """A wheel and an sdist of the checkout; a wheel made of the sdist has to be the same."""
    backend = [sys.executable, "-m", "build", "--outdir"]
    run(*backend, directory, "--sdist", "--wheel", ROOT, at=ROOT)
    [wheel], [sdist] = directory.glob("*.whl"), directory.glob("*.tar.gz")
    unpacked, again = directory / "unpacked", directory / "again"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    run(*backend, again, "--wheel", *unpacked.iterdir(), at=directory)
    [second] = again.glob("*.whl")
    if second.name != wheel.name or digests(second) != digests(wheel):
        raise Failure(f"the wheel of the sdist differs: {different(wheel, second)}")
    shutil.rmtree(unpacked)
    shutil.rmtree(again)
    for made in (wheel, sdist):
        say(f"built {made.name}, {made.stat().st_size / 1024:,.0f} KiB")
    return wheel


def digests(wheel: Path) -> dict[str, str]:
    """The SHA-256 of each file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def different(one: Path, other: Path) -> str:
    """Files in which two wheels differ."""
    first, second = digests(one), digests(other)
    names = {name for name in {*first, *second} if first.get(name) != second.get(name)}
    return ", ".join(sorted(names)[:10])


def sources() -> set[str]:
    """All files of the package in the checkout, as the wheel names them."""
    package = ROOT / "src"
    return {
        path.relative_to(package).as_posix()
        for path in (package / "assay").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def compare(what: str, found: set[str], expected: set[str]) -> None:
    """Names that are missing, or should not be there, are an error."""
    lacking, extra = sorted(expected - found), sorted(found - expected)
    if lacking:
        raise Failure(f"{what} lacks {', '.join(lacking[:10])}")
    if extra:
        raise Failure(f"{what} holds what it should not: {', '.join(extra[:10])}")


def check_wheel(wheel: Path) -> None:
    """The package as it stands in the checkout, and nothing else."""
    found = set(digests(wheel))
    about = {name for name in found if name.split("/")[0].endswith(".dist-info")}
    compare("the wheel", found - about, sources())
    compare("the checkout", sources(), sources() | set(SHIPPED))
    needed = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    [folder] = {name.split("/")[0] for name in about}
    compare("the wheel's metadata", about, {f"{folder}/{name}" for name in needed})
    told = metadata(wheel)
    fields = ("Author", "Keywords", "License-Expression", "Requires-Python", "Summary")
    absent = [field for field in fields if not told.get(field)]
    if absent or "Typing :: Typed" not in told.get_all("Classifier", []):
        raise Failure(f"the wheel's metadata lack {', '.join(absent) or 'Typing :: Typed'}")
    say(f"the wheel holds src/assay, {len(sources())} files, and its licence")


def check_sdist(sdist: Path) -> None:
    """What the wheel is made of, and the papers; no tests, no site, nothing built."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    recipes = {f"recipes/{path.name}" for path in (ROOT / "recipes").iterdir()}
    papers = {name for name in BESIDE if name != "recipes"} | recipes
    made = {"PKG-INFO", "pyproject.toml", ".gitignore"}  # By the back end.
    compare("the sdist", names, {f"src/{name}" for name in sources()} | papers | made)
    say(f"the sdist holds it, and {', '.join(BESIDE)}; a wheel made of it is the same")


def metadata(wheel: Path) -> Message:
    """METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return message_from_string(archive.read(name).decode("utf-8"))


def check_version(wheel: Path) -> None:
    """One version: the package's, the wheel's, that of CITATION.cff and of CHANGELOG.md."""
    code = "import assay; print(assay.__version__)"
    own = run(sys.executable, "-c", code, at=ROOT / "src").strip()
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    cited = next(line.split()[-1] for line in lines if line.startswith("version:"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    changed = next(line.split()[1].rstrip(",") for line in changes if line.startswith("## "))
    known = {
        "assay.__version__": own,
        "the wheel": str(metadata(wheel)["Version"]),
        "CITATION.cff": cited,
        "CHANGELOG.md": changed,
    }
    if len(set(known.values())) > 1:
        raise Failure(f"there are several versions: {known}")
    say(f"one version, {own}")


def check_extras() -> None:
    """Each extra of pyproject.toml is installed here, or by another command."""
    compare("this script", {*LIGHT, *ELSEWHERE}, set(PROJECT["optional-dependencies"]))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ELSEWHERE.values():
        if f"\n{command.removeprefix('make ')}:" not in makefile:
            raise Failure(f"there is no `{command}`")


def clean_environment(directory: Path) -> Path:
    """A virtual environment with torch, which is all that is not left to the wheel."""
    venv = directory / "venv"
    run(ROOT / "scripts" / "install-torch", venv, at=directory, PYTHON=sys.executable)
    say("a clean environment with torch")
    return venv / "bin" / "python"


def install(python: Path, what: str, at: Path) -> None:
    """With the versions that the tests run with."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, "--constraint", ROOT / "constraints.txt", what, at=at)


def use_alone(python: Path, wheel: Path, directory: Path) -> None:
    """Without extras: a tiny model is trained and scores."""
    install(python, str(wheel), directory)
    say("installed the wheel without extras")
    work = directory / "work"
    work.mkdir()
    assay = python.with_name("assay")
    quiet = {"ASSAY_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1"}

    def command(*words: object) -> str:
        return run(assay, *words, at=work, **quiet)

    if command("--version") != run(python, "-m", "assay", "--version", at=work):
        raise Failure("`assay` and `python -m assay` differ")
    run(python, "-c", TINY, "tiny", at=work)
    found = json.loads(command("doctor", "--model", "tiny", "--json"))
    if found["problems"] or found["sections"]["model"]["facts"]["engine"]["taken"] != "tree":
        raise Failure(f"assay doctor finds {found['problems'] or 'another engine than the tree'}")
    command("render", "--model", "tiny", "--input", "sample:values", "--split", "test")
    command(
        *("train", "--model.path", "tiny", "--data.train", "sample:values"),
        *("--train.max_steps", 1, "--train.global_batch_size", 2, "--output_dir", "run"),
    )
    rows = [{"prompt": "Is it safe?", "responses": ["Yes.", "Look at the label first."]}]
    Path(work, "rows.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    command("score", "--model", "run", "--input", "rows.jsonl", "--output", "scored.jsonl")
    scored = json.loads(Path(work, "scored.jsonl").read_text(encoding="utf-8"))
    if len(scored["assay"]["scores"]) != 2:
        raise Failure(f"assay score writes {scored}")
    say("assay --version, doctor, render, train and score work outside the checkout")


def use_extras(python: Path, wheel: Path, directory: Path) -> None:
    """All light extras together, each imported with the module that uses it."""
    install(python, f"{wheel}[{','.join(LIGHT)}]", directory)
    say(f"installed {', '.join(LIGHT)}")
    run(python, "-m", "pip", "check", at=directory)
    for extra, modules in LIGHT.items():
        run(python, "-c", f"import {', '.join(modules)}", at=directory, HF_HUB_OFFLINE="1")
        say(f"[{extra}] imports {', '.join(modules)}")
    say(run(python, "-W", "ignore", "-c", IMPORT_ALL, *ELSEWHERE, at=directory).strip())
    others = ", ".join(f"[{extra}] by `{command}`" for extra, command in ELSEWHERE.items())
    say(f"elsewhere: {others}")


if __name__ == "__main__":
    main()
