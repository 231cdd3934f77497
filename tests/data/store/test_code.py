"""The code that a store depends on: a plug-in's, and all that it imports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.data import plugins, templates
from assay.data.formats import registry
from assay.data.plugins import load_plugins
from assay.data.store import code

FILES = {
    "mine.py": "import assay, helper\n"
    "@assay.register_format('mine', detects=lambda row: 'x' in row)\n"
    "def read(row):\n"
    "    from kit.lazy import order\n"
    "    return dict(zip(('chosen', 'rejected'), order(row, helper.WIN, helper.LOSE)))\n",
    "helper.py": "import json, numpy.linalg\nWIN, LOSE = 'x', 'y'\n",
    "kit/__init__.py": "from . import names\nfrom .deep.inner import *\n",
    "kit/names.py": "'no names'\n",
    "kit/lazy.py": "from .deep import inner\norder = inner.order\n",
    "kit/deep/inner.py": "from ...none import nothing\nfrom ..values import ONE as FIRST\n"
    "import absent, kit.nothing\ndef order(row, *keys):\n    return [row[key] for key in keys]\n",
    "kit/values.py": "ONE = '\\d'\n",
    "kit/unused.py": "",
    "bystander.py": "",
}
LOADED = set(FILES) - {"kit/unused.py", "bystander.py"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plug-in with what it imports, on the path of modules."""
    monkeypatch.setattr(templates, "_REGISTRY", dict(templates._REGISTRY))
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    for name in ("_loaded", "_plugin_formats", "_files"):
        monkeypatch.setattr(plugins, name, type(getattr(plugins, name))())
    registry.registered_formats.cache_clear()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("helper", "kit", "toolkit"):
            del sys.modules[name]
    monkeypatch.undo()
    registry.registered_formats.cache_clear()


def test_each_file_that_a_plugin_imports_counts(folder: Path) -> None:
    assert code.foreign_code() == []
    load_plugins([str(folder / "mine.py")])
    seen = [code.foreign_code()]
    assert code.foreign_code() == seen[0]
    for name, text in FILES.items():
        (folder / name).write_text(text + "# Another byte.\n")
        now = code.foreign_code()
        assert (now not in seen) == (name in LOADED), name
        seen.append(now)
    assert "kit" not in sys.modules  # Nothing is run.


def test_what_is_installed_counts_by_its_own_fingerprints(folder: Path) -> None:
    found = code._with_imports([str(folder / "mine.py")])
    assert {str(Path(file).relative_to(folder)) for file in found} == LOADED


def test_a_package_counts_with_its_version(folder: Path) -> None:
    """Its class stands in one module, and gets its texts from another."""
    package, about = folder / "toolkit", folder / "toolkit-1.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").write_text(
        "import assay\nfrom toolkit.texts import USER\n"
        "@assay.register_template('toolkit')\n"
        "class Toolkit(assay.Template):\n    user_prompt = USER\n"
    )
    (package / "texts.py").write_text("USER = 'U: {input}'\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toolkit\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[assay.plugins]\ntoolkit = toolkit\n")
    plugins._load_entry_points.cache_clear()
    load_plugins()
    first = code.foreign_code()
    assert "toolkit 1" in first
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toolkit\nVersion: 2\n")
    second = code.foreign_code()
    assert [*first[:1], "toolkit 2", *first[2:]] == second
    (package / "texts.py").write_text("USER = 'Q: {input}'\n")
    assert code.foreign_code() != second
