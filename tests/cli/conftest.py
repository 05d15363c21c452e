"""The fixtures of `instance_cli`: an empty root, the command over it, its registry, a page."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance_shell import Cli, Page

from core.instance_manager import InstanceRegistry


@pytest.fixture
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "WEB_TOKEN", "GRID_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


@pytest.fixture
def registry(tmp_path: Path) -> InstanceRegistry:
    return InstanceRegistry(tmp_path)


@pytest.fixture
def page() -> Iterator[int]:
    """A page on a port of its own; gives the port."""
    Page.seen.clear()
    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()
