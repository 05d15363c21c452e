"""adjust, pause and resume: requests to the instance's own page, and to nobody else."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from command_shell import Shell
from toy_fleet import ToyFleet, free_port

from core import pidfile
from core.files import make_private_dir

pytestmark = pytest.mark.slow  # every test runs the real command as a process


class Page(http.server.BaseHTTPRequestHandler):
    """Records what it is asked and answers as told."""

    seen: list[tuple[str, dict[str, Any], dict[str, str]]]
    answers: list[tuple[int, dict[str, Any]]]
    health: dict[str, Any]

    def do_GET(self) -> None:
        assert self.path == "/health"
        assert "Authorization" not in self.headers  # until it has said who it is
        self.answer(200, type(self).health)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).seen.append((self.path, body, dict(self.headers.items())))
        self.answer(*type(self).answers.pop(0))

    def answer(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def page(fleet: ToyFleet) -> Iterator[type[Page]]:
    """A bot that lives, as far as the registry and its lock tell, with a page of its own."""
    health = {"instance_id": "toy", "pid": os.getpid(), "status": "ok"}
    handler = type("OnePage", (Page,), {"seen": [], "answers": [], "health": health})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    port = server.server_address[1]
    make_private_dir(fleet.folder())
    lock = pidfile.acquire(fleet.folder() / pidfile.BOT_LOCK)
    assert lock is not None
    fleet.registry.register("toy", {"web_host": "127.0.0.1", "web_port": port, "status": "RUNNING"})
    fleet.registry.update("toy", bot_pid=os.getpid())
    yield handler
    os.close(lock)
    server.shutdown()
    thread.join()
    server.server_close()


def test_adjust_previews_then_does_it(run: Shell, page: type[Page]) -> None:
    """A dry run first, then the same without; prices stay the text that was typed."""
    moved = {"success": True, "message": "moved", "grid_lower_price": "139.50"}
    page.answers += [(200, {**moved, "message": "would move"}), (200, moved)]
    answer = run("adjust", "toy", "--lower", "139.50", "--grid-num", "21")
    assert answer.code == 0
    assert "would move" in answer.err
    assert "moved" in answer.out
    body = {"grid_lower_price": "139.50", "grid_num": 21}
    assert [(path, sent) for path, sent, _ in page.seen] == [
        ("/api/grid/adjust", {**body, "dry_run": True}),
        ("/api/grid/adjust", body),
    ]
    assert page.seen[0][2]["Content-Type"] == "application/json"
    assert page.seen[0][2]["Host"].startswith("127.0.0.1:")


def test_the_page_verbs_tell_json(run: Shell, page: type[Page]) -> None:
    """One value on standard output: the page's own answer, or what went wrong."""
    page.answers += [
        (200, {"success": True, "message": "would move", "grid_num": 21}),
        (400, {"success": False, "message": "lower is not below"}),
        (200, {"success": True, "message": "paused"}),
    ]
    planned = run("adjust", "toy", "--lower", "139", "--lots", "close", "--dry-run", "--json")
    assert planned.code == 0
    assert json.loads(planned.out)["grid_num"] == 21
    assert page.seen[0][1]["lots"] == "close"
    refused = run("adjust", "toy", "--lower", "200", "--json")
    assert refused.code == 1
    assert json.loads(refused.out)["error"] == "lower is not below"
    paused = json.loads(run("pause", "toy", "--json").out)
    assert (paused["instance_id"], paused["ok"], paused["message"]) == ("toy", True, "paused")


def test_adjust_dry_run_and_refusals_change_nothing(run: Shell, page: type[Page]) -> None:
    """--dry-run asks once; a refused preview is exit 1 and is not followed by the deed."""
    page.answers += [(200, {"message": "would move"}), (400, {"message": "lower is not below"})]
    assert run("adjust", "toy", "--lower", "139", "--dry-run").code == 0
    refused = run("adjust", "toy", "--lower", "200")
    assert refused.code == 1
    assert "lower is not below" in refused.err
    assert len(page.seen) == 2


def test_pause_and_resume_carry_the_token(run: Shell, page: type[Page]) -> None:
    """WEB_TOKEN from `.env` goes as the bearer, and a 401 says what to do."""
    (run.root / ".env").write_text("WEB_TOKEN=correct-horse\n")
    (run.root / ".env").chmod(0o600)
    page.answers += [(200, {"success": True, "message": "paused"}), (401, {})]
    assert run("pause", "toy").code == 0
    assert page.seen[0][2]["Authorization"] == "Bearer correct-horse"
    refused = run("resume", "toy")
    assert refused.code == 1
    assert "WEB_TOKEN" in refused.err
    assert "correct-horse" not in refused.err + refused.out


def test_a_page_that_is_not_there_is_a_failure_in_words(
    run: Shell, fleet: ToyFleet, page: type[Page]
) -> None:
    """The bot lives and nobody listens: exit 1 with the address."""
    fleet.registry.update("toy", web_port=free_port())
    answer = run("pause", "toy")
    assert answer.code == 1
    assert "http://127.0.0.1:" in answer.err
    assert page.seen == []


@pytest.mark.parametrize("stranger", [{"instance_id": "other"}, {"pid": 1}, {"instance_id": None}])
def test_another_program_on_the_port_is_told_nothing(
    run: Shell, page: type[Page], stranger: dict[str, Any]
) -> None:
    """FAILURES 35: another bot has the port meanwhile: neither its grid nor our token move."""
    (run.root / ".env").write_text("WEB_TOKEN=correct-horse\n")
    (run.root / ".env").chmod(0o600)
    page.health |= stranger
    for verb in (("adjust", "toy", "--lower", "139", "--yes"), ("pause", "toy")):
        answer = run(*verb)
        assert answer.code == 1
        assert "another program" in answer.err
    assert page.seen == []


def test_a_stopped_instance_has_nothing_to_adjust(
    run: Shell, fleet: ToyFleet, page: type[Page]
) -> None:
    """Whoever has its port meanwhile is not asked; the words say how to start it."""
    fleet.registry.register("gone", {**fleet.record(), "bot_pid": None, "status": "STOPPED"})
    for verb in (("adjust", "gone", "--lower", "139", "--yes"), ("resume", "gone")):
        answer = run(*verb)
        assert answer.code == 1
        assert "start --config" in answer.err
    assert page.seen == []
