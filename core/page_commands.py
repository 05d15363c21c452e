"""The verbs that ask the bot itself, over its page: adjust, pause, resume.

One request each to the instance's own HTTP address, with WEB_TOKEN from the environment or `.env`
as the bearer. First the page must say that it is this instance's living bot: while a bot is down or
waits for its port, another one may listen there, and neither our token nor our word is for that.
Standard library only; http.client is loaded when it is used.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config_files import EnvFile, Variables
from core.console import Console
from core.errors import ExitCode, UsageError
from core.health import probe_address
from core.i18n import t
from core.instance_manager import InstanceRegistry
from core.registry_file import start_command
from core.targets import Target, resolve_targets

if TYPE_CHECKING:
    from http.client import HTTPConnection

_TIMEOUT_S = 20.0  # an adjust answers within 10 s, with 202 when the exchange takes longer


class PageError(Exception):
    """The bot's page could not be reached."""


def adjust(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Move the grid of a running bot: show what would happen, ask, do it."""
    wanted = {
        "grid_lower_price": args.lower,
        "grid_upper_price": args.upper,
        "grid_num": args.grid_num,
    }
    body = {key: value for key, value in wanted.items() if value is not None}
    if not body:
        raise UsageError("adjust: give --lower, --upper or --grid-num")
    if args.lots is not None:
        body["lots"] = args.lots
    target = resolve_targets(root, [args.id])[0]
    try:
        status, answer = post(target, root, "/api/grid/adjust", {**body, "dry_run": True})
        if status == 200 and not args.dry_run:
            console.complain("{id}: {text}", id=target.instance_id, text=_words(status, answer))
            if not args.yes and not console.ask("move the grid?"):
                console.complain("nothing was changed")
                return _finish(console, [_failure(target, "nothing was changed")])
            status, answer = post(target, root, "/api/grid/adjust", body)
    except PageError as error:
        console.complain("{id}: {error}", id=target.instance_id, error=str(error))
        return _finish(console, [_failure(target, str(error))])
    return _finish(console, [_tell(target, status, answer, console)])


def pause(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Stop entries; exits stay."""
    return _for_each(args, root, console, "/api/pause")


def resume(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Let entries go on."""
    return _for_each(args, root, console, "/api/resume")


def _for_each(args: argparse.Namespace, root: Path, console: Console, path: str) -> int:
    targets = resolve_targets(root, args.ids, all_registered=args.all)
    registry = InstanceRegistry(root)
    results: list[dict[str, Any]] = []
    for target in targets:
        if args.all and registry.liveness(target.instance_id).bot_pid is None:
            continue  # --all is every registered instance; one that is down has nothing to pause
        try:
            status, answer = post(target, root, path, {})
        except PageError as error:
            console.complain("{id}: {error}", id=target.instance_id, error=str(error))
            results.append(_failure(target, str(error)))
            continue
        results.append(_tell(target, status, answer, console))
    return _finish(console, results)


def _failure(target: Target, error: str) -> dict[str, Any]:
    return {"instance_id": target.instance_id, "ok": False, "error": error}


def _finish(console: Console, results: list[dict[str, Any]]) -> int:
    """Print the JSON value if it is wanted, and give the exit code."""
    if console.as_json:
        console.emit(results[0] if len(results) == 1 else results)
    return ExitCode.OK if all(result["ok"] for result in results) else ExitCode.FAILED


def post(target: Target, root: Path, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Send one POST; returns status and JSON answer. Errors: PageError."""
    from http.client import HTTPConnection, HTTPException

    port = target.record.get("web_port")
    if not isinstance(port, int) or port <= 0:
        raise PageError(t("unknown instance, or it has no page; see: daemon_manager list --all"))
    bot_pid = InstanceRegistry(root).liveness(target.instance_id).bot_pid
    if bot_pid is None:
        command = start_command(target.instance_id, target.config_file)
        raise PageError(t("its bot does not run; start it: {command}", command=command))
    host = str(target.record.get("web_host") or "127.0.0.1")
    _, (address, _), header = probe_address(host, port)
    headers = {"Host": header, "Content-Type": "application/json"}
    token = Variables(os.environ, [EnvFile(root / ".env", ".env")]).get("WEB_TOKEN")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = HTTPConnection(address, port, timeout=_TIMEOUT_S)
    try:
        _, who = _exchange(connection, "GET", "/health", None, {"Host": header})
        if (who.get("instance_id"), who.get("pid")) != (target.instance_id, bot_pid):
            raise PageError(
                f"another program answers on http://{header} (instance {who.get('instance_id')!r},"
                f" pid {who.get('pid')!r}; expected pid {bot_pid}); nothing was sent to it"
            )
        return _exchange(connection, "POST", path, json.dumps(body), headers)
    except ConnectionRefusedError:
        raise PageError(
            f"its bot runs (pid {bot_pid}), but nobody answers on http://{header}; see:"
            f" daemon_manager status {target.instance_id}"
        ) from None
    except (TimeoutError, OSError, HTTPException) as error:
        raise PageError(f"http://{header}{path}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def _exchange(
    connection: HTTPConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    """Send one request; an answer that is no JSON object counts as empty."""
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    try:
        answer = json.loads(response.read(1 << 20))
    except (ValueError, RecursionError):
        answer = None
    return response.status, answer if isinstance(answer, dict) else {}


def _tell(target: Target, status: int, answer: dict[str, Any], console: Console) -> dict[str, Any]:
    """Say what the page answered; gives it as one result, the answer's own fields beside it."""
    words = _words(status, answer)
    if 200 <= status < 300:
        console.say("{id}: {text}", id=target.instance_id, text=words)
        return {"instance_id": target.instance_id, "ok": True, **answer}
    console.complain("{id}: {text}", id=target.instance_id, text=words)
    return {**answer, **_failure(target, words)}


def _words(status: int, answer: dict[str, Any]) -> str:
    if status == 401:
        return "HTTP 401: set WEB_TOKEN, in the environment or in .env"
    message = str(answer.get("message") or answer.get("error") or f"HTTP {status}")
    grid = [
        f"{key} {answer[key]}"
        for key in ("grid_lower_price", "grid_upper_price", "grid_num", "pending")
        if answer.get(key) is not None
    ]
    return ", ".join([message, *grid])
