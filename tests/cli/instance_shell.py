"""`instance_cli` run in this process, and a page for it to ask."""

from __future__ import annotations

import http.server
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cli import instance_cli

ROOT = Path(__file__).resolve().parents[2]
FAKE = "fk3S9aQ0zz8LwPq"


class Cli:
    """Runs the command in this process."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._root = root
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = instance_cli.main([*words, "--root", str(self._root)])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *words: str) -> Any:
        """The one JSON value, with nothing beside it."""
        code, out, err = self(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


class Page(http.server.BaseHTTPRequestHandler):
    """An instance's page that knows one route."""

    answer: ClassVar[dict[str, Any]] = {}
    seen: ClassVar[list[tuple[str, str | None, str | None]]] = []

    def do_GET(self) -> None:
        headers = self.headers
        Page.seen.append((self.path, headers.get("Host"), headers.get("Authorization")))
        body = json.dumps(Page.answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


STATUS = {
    "instance_id": "a",
    "price": "150.25",
    "position": "-1.5",
    "pnl": {"grid": "3", "total": "2.5"},
    "open_orders": 19,
    "fills": 42,
}
