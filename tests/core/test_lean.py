"""Importing a library without some of its parts, with a library made for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from core.lean import importing_without

FILES = {
    "fatlib/__init__.py": """
        import lean_heavy
        from lean_heavy import build
        from lean_heavy.inner import Client
        try:
            import lean_extra
        except ImportError:
            lean_extra = None

        def heavy_name():
            return lean_heavy.NAME
    """,
    "greedylib.py": "import lean_heavy\nNAME = lean_heavy.NAME\n",
    "lean_heavy/__init__.py": "NAME = 'heavy'\ndef build(part): return f'built {part}'\n",
    "lean_heavy/inner.py": "class Client:\n    def __init__(self, to): self.to = to\n",
    "lean_extra.py": "",
}
DEFERRED = {"lean_heavy": ("build",), "lean_heavy.inner": ("Client",)}


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        lines = text.split("\n")
        path.write_text("\n".join(line.removeprefix("        ") for line in lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in list(sys.modules):
        if name.startswith(("lean_", "fatlib", "greedylib")):
            del sys.modules[name]


def test_the_parts_are_left_out_and_leave_no_trace() -> None:
    """While the import runs they are stood in for; afterwards nothing of it is in sys.modules."""
    with importing_without(["lean_extra"], DEFERRED):
        fat = import_module("fatlib")
    assert fat.lean_extra is None
    assert not any(name.startswith("lean_") for name in sys.modules)


def test_a_deferred_part_is_loaded_at_its_first_use() -> None:
    """A function, a class and an attribute all reach the real module."""
    with importing_without(["lean_extra"], DEFERRED):
        fat = import_module("fatlib")
    assert fat.build("it") == "built it"
    assert fat.Client(to="there").to == "there"
    assert fat.heavy_name() == "heavy"
    assert type(fat.Client("x")) is import_module("lean_heavy.inner").Client


def test_whoever_imports_a_part_later_gets_the_real_one() -> None:
    """Leaving it out of one import changes no other."""
    with importing_without(["lean_extra"], DEFERRED):
        import_module("fatlib")
    assert import_module("lean_heavy").NAME == "heavy"
    assert import_module("lean_extra").__name__ == "lean_extra"


def test_what_is_loaded_already_is_not_touched() -> None:
    """A module that somebody uses stays itself, inside too."""
    heavy = import_module("lean_heavy")
    with importing_without(["lean_extra"], DEFERRED):
        assert sys.modules["lean_heavy"] is heavy
    assert sys.modules["lean_heavy"] is heavy


def test_a_use_while_the_import_runs_is_an_import_error() -> None:
    """The library's own handling of ImportError sees it; without one, it is not silent."""
    with (
        pytest.raises(ImportError, match=r"lean_heavy is left out .* and yet used"),
        importing_without(deferred=DEFERRED),
    ):
        import_module("greedylib")
    assert "lean_heavy" not in sys.modules


def test_an_error_inside_restores_as_well() -> None:
    """However the import ends, the stand-ins are gone."""
    with pytest.raises(ZeroDivisionError), importing_without(["lean_extra"], DEFERRED):
        raise ZeroDivisionError
    assert "lean_extra" not in sys.modules
    assert "lean_heavy" not in sys.modules


def test_a_bot_loads_none_of_the_parts_it_never_uses() -> None:
    """Config, logs and web together bring no asyncio, no TLS, no HTTP client, no metadata."""
    code = """
import sys
from core.config_load import load_options
from core.log_manager import get_logger
from pathlib import Path
options = ["--exchange=paper", "--symbol=X", "--grid-lower=10", "--grid-upper=20", "--grid-num=5"]
load_options([*options, "--quantity=1"], Path.cwd(), instance_id="x", environ={})
get_logger()
from web.lean import load_flask_socketio
load_flask_socketio()
import web.server
names = ("asyncio", "ssl", "http.server", "importlib.metadata", "requests", "werkzeug.test")
print([name for name in names if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_neither_a_bot_nor_a_supervisor_loads_what_plots() -> None:
    """Everything of ours but the pictures themselves is imported without matplotlib and numpy."""
    code = """
import importlib, pkgutil, sys
for root in ("core", "strategies", "exchanges", "database", "web", "cli", "run"):
    package = importlib.import_module(root)
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), root + "."):
        if not found.name.endswith("plots"):
            importlib.import_module(found.name)
import cli.bot, core.supervisor, cli.backtesting.sweep
print([name for name in ("matplotlib", "numpy", "PIL", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
