"""Versions and extras are those of the package's own metadata; nothing secret is printed."""

from __future__ import annotations

import tomllib
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest

from assay.doctor import packages
from assay.doctor.section import Section

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_each_extra_is_said_to_be_for_something() -> None:
    assert set(packages.USES) == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package says it needs, and what is installed."""
    asked = ["torch>=2.13,<2.14", "peft>=0.21", "httpx>=0.28; extra == 'client'"]
    there = {"torch": "2.13.0+cpu", "peft": "0.20", "assay": "0.1.0"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    monkeypatch.setattr(metadata, "version", version)
    provided = message_from_string("Provides-Extra: client\n\n")
    monkeypatch.setattr(metadata, "metadata", lambda name: provided)


@pytest.mark.usefixtures("told")
def test_what_does_not_fit_is_a_problem() -> None:
    section = packages.versions()
    assert section.problems == [
        "peft: 0.20 is installed, and Assay needs >=0.21; pip install 'peft>=0.21'"
    ]
    assert {fact.name: fact.value for fact in section.facts}["torch"] == "2.13.0+cpu"


@pytest.mark.usefixtures("told")
def test_an_extra_that_is_absent_is_a_line_for_pip() -> None:
    [fact] = packages.extras().facts
    assert fact.said.startswith("no httpx: pip install 'assay[client]'")
    assert fact.value == {"packages": {"httpx": None}, "complete": False}


def test_without_metadata_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", none)
    section = packages.versions()
    assert section.problems == []
    assert section.notes[0].startswith("what Assay needs: not found out (PackageNotFoundError")
    assert section.facts[0].name == "assay"


def test_no_login_and_no_home_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@mirror.example/hf")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    said = packages.versions().as_text()
    assert "HF_ENDPOINT=https://mirror.example/hf" in said
    assert "ASSAY_CACHE=~/cache" in said
    assert "secret" not in said
    assert str(tmp_path) not in said


def test_a_section_keeps_what_was_found_before_a_failure() -> None:
    section = Section("one", "one thing")
    with section.tried("a probe"):
        section.say("first", 1)
        raise OSError("no such library")
    with section.asked():
        raise RuntimeError
    assert section.as_json() == {
        "facts": {"first": 1},
        "notes": ["a probe: not found out (OSError: no such library)"],
        "problems": ["one thing: cannot be looked at (RuntimeError: RuntimeError)"],
    }
