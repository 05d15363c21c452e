"""The routes of CONTRACT 7, over the ports: a GET reads the snapshot or the history, a POST becomes
a command for the engine and waits for its result. No exchange call, no global, no state of its own.

Rules: every answer but the page, its files and the metrics is JSON; a refusal is
`{"success": false, "message"}`; a traceback never leaves; a GET changes nothing.
"""

from __future__ import annotations

import json
import mimetypes
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from core.model import AdjustGrid, Command, CommandResult, Outcome, Pause, Resume
from core.ports import Commands, History
from web.body import (
    BadRequest,
    Page,
    parse_adjust,
    parse_json_object,
    parse_nothing,
    parse_order_status,
    parse_page,
    parse_stop,
)
from web.documents import (
    Document,
    decimal_text,
    equity_document,
    fill_document,
    is_healthy,
    levels_documents,
    order_document,
    plain,
)
from web.guard import LOGIN_PATH, cookie_name, cookie_value, is_same
from web.instance import Instance
from web.metrics import CONTENT_TYPE as METRICS_TYPE
from web.metrics import Metrics

WEB_DIR = Path(__file__).resolve().parent
STATIC_DIR = WEB_DIR / "static"
TEMPLATE_DIR = WEB_DIR / "templates"

HTTP_STATUS = {
    Outcome.DONE: 200,
    Outcome.PENDING: 202,
    Outcome.INVALID: 400,
    Outcome.NOT_RUNNING: 409,
    Outcome.REFUSED: 502,
}
HISTORY_CHUNK = 1000  # rows fetched and written at a time: 100,000 fills never stand in memory
COOKIE_MAX_AGE_S = 30 * 86400

RowPage = tuple[tuple[Any, ...], int | None]


def read_template(name: str) -> bytes:
    """Read a page; it holds no value, so there is nothing to render and nothing to inject into."""
    return (TEMPLATE_DIR / name).read_bytes()


def add_routes(
    app: Flask, instance: Instance, commands: Commands, history: History, metrics: Metrics
) -> None:
    """Put every route onto the app."""
    _add_page(app, instance)
    _add_reads(app, instance, history, metrics)
    _add_commands(app, instance, commands)
    _add_error_answers(app, instance)


def _add_page(app: Flask, instance: Instance) -> None:
    page = read_template("page.html")
    files = {
        path.relative_to(STATIC_DIR).as_posix(): path
        for path in STATIC_DIR.rglob("*")
        if path.is_file()
    }

    def index() -> Response:
        return Response(page, content_type="text/html; charset=utf-8")

    def static(name: str) -> Response:
        path = files.get(name)  # a closed list: no path is ever made from what a client sent
        if path is None:
            return _refusal(404, f"no file {name!r} here")
        return Response(path.read_bytes(), content_type=_content_type(path))

    def login() -> Response:
        settings = instance.settings
        body = parse_json_object(request.get_data())
        token = body.get("token")
        if settings.token is None or not settings.wants_token:
            return _refusal(400, "WEB_TOKEN is not set on this instance: no login is needed")
        if not isinstance(token, str) or not is_same(token.strip(), settings.token.reveal()):
            settings.log.warning("web_login_refused", remote=ascii(request.remote_addr))
            return _refusal(401, "token: is not the instance's WEB_TOKEN")
        response = _json({"success": True, "message": "welcome"})
        response.set_cookie(
            cookie_name(settings.instance_id),
            cookie_value(settings),
            max_age=COOKIE_MAX_AGE_S,
            httponly=True,
            samesite="Strict",
            secure=request.headers.get("Origin", "").startswith("https://"),
            path="/",
        )
        return response

    _route(app, "/", index)
    _route(app, "/static/<path:name>", static)
    _route(app, LOGIN_PATH, login, method="POST")


def _add_reads(app: Flask, instance: Instance, history: History, metrics: Metrics) -> None:
    def health() -> Response:
        return _health(instance.health())

    def health_detailed() -> Response:
        return _health(instance.health(detailed=True))

    def status() -> Response:
        return _json(instance.status())

    def grid() -> Response:
        snapshot = instance.snapshot()
        document = instance.status(snapshot)
        return _json(
            {
                "instance_id": snapshot.instance_id,
                "seq": document["seq"],
                "price": document["price"],
                "grid": document["grid"],
                "levels": levels_documents(snapshot),
            }
        )

    def orders() -> Response:
        query = request.args.to_dict(flat=False)
        open_only = parse_order_status(query)
        return _rows(
            "orders",
            order_document,
            parse_page(query),
            lambda limit, before: history.orders(limit, before, open_only=open_only),
        )

    def fills() -> Response:
        page = parse_page(request.args.to_dict(flat=False))
        return _rows("fills", fill_document, page, history.fills)

    def pnl() -> Response:
        page = parse_page(request.args.to_dict(flat=False))
        return _rows("pnl", equity_document, page, history.equity)

    def exposition() -> Response:
        return Response(metrics.render(), content_type=METRICS_TYPE)

    _route(app, "/health", health)
    _route(app, "/health/detailed", health_detailed)
    _route(app, "/api/status", status)
    _route(app, "/api/grid", grid)
    _route(app, "/api/orders", orders)
    _route(app, "/api/fills", fills)
    _route(app, "/api/pnl", pnl)
    _route(app, "/metrics", exposition)


def _add_commands(app: Flask, instance: Instance, commands: Commands) -> None:
    settings = instance.settings

    def carry_out(name: str, command: Command) -> CommandResult:
        result = commands.submit(command, settings.command_timeout_s)
        settings.log.info(
            "web_command",
            command=name,
            outcome=result.outcome.value,
            message=result.message,
            remote=ascii(request.remote_addr),
        )
        return result

    def adjust() -> Response:
        command = parse_adjust(parse_json_object(request.get_data()))
        result = carry_out("adjust", command)
        document = result_document(result)
        if document["success"]:
            document = {**_range_document(command, instance), **document}
        return _json(document, HTTP_STATUS[result.outcome])

    def simple(name: str, make: Callable[[Mapping[str, Any]], Command]) -> Callable[[], Response]:
        def answer() -> Response:
            body = request.get_data()
            command = make(parse_json_object(body) if body.strip() else {})
            result = carry_out(name, command)
            return _json(result_document(result), HTTP_STATUS[result.outcome])

        return answer

    def make_pause(body: Mapping[str, Any]) -> Command:
        parse_nothing(body)
        return Pause()

    def make_resume(body: Mapping[str, Any]) -> Command:
        parse_nothing(body)
        return Resume()

    _route(app, "/api/grid/adjust", adjust, method="POST")
    _route(app, "/api/pause", simple("pause", make_pause), method="POST")
    _route(app, "/api/resume", simple("resume", make_resume), method="POST")
    _route(app, "/api/stop", simple("stop", parse_stop), method="POST")


def _add_error_answers(app: Flask, instance: Instance) -> None:
    def on_bad_request(error: BadRequest) -> Response:
        return _refusal(400, str(error))

    def on_http_error(error: HTTPException) -> Response:
        response = _refusal(error.code or 500, _HTTP_MESSAGES.get(error.code or 500, error.name))
        allow = error.get_response().headers.get("Allow")
        if allow:
            response.headers["Allow"] = allow
        return response

    def on_fault(error: Exception) -> Response:
        instance.settings.log.error(
            "web_fault",
            path=ascii(request.path),
            error=type(error).__name__,
            traceback="".join(traceback.format_exception(error)),
        )
        return _refusal(500, "a fault inside the bot: its log has the details")

    app.register_error_handler(BadRequest, on_bad_request)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_fault)


_HTTP_MESSAGES = {
    404: "no such route: the README lists them",
    405: "this route does not take this method: GET reads, POST commands",
    413: "the body is too large",
}


def result_document(result: CommandResult) -> Document:
    """The answer to a command: `success`, `message` and what the engine told, decimals as text."""
    document: Document = {
        **plain(result.data),
        "success": result.outcome in {Outcome.DONE, Outcome.PENDING},
        "message": result.message,
    }
    if result.outcome is Outcome.PENDING:
        document.setdefault("pending", True)
    return document


def _range_document(command: AdjustGrid, instance: Instance) -> Document:
    """The range an accepted adjust leads to, where the engine's result does not name it."""
    grid = instance.snapshot().grid
    lower = command.lower or (grid.lower if grid else None)
    upper = command.upper or (grid.upper if grid else None)
    return {
        "grid_lower_price": None if lower is None else decimal_text(lower),
        "grid_upper_price": None if upper is None else decimal_text(upper),
        "grid_num": command.grid_num or (grid.num if grid else None),
    }


def _route(app: Flask, rule: str, view: Callable[..., Response], method: str = "GET") -> None:
    app.add_url_rule(
        rule,
        endpoint=f"{method} {rule}".replace(".", "_"),
        view_func=view,
        methods=[method],
        provide_automatic_options=False,
    )


def _json(document: Document, status: int = 200) -> Response:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"
    return Response(text, status=status, content_type="application/json")


def _refusal(status: int, message: str) -> Response:
    return _json({"success": False, "message": message}, status)


def _health(document: Document) -> Response:
    return _json(document, 200 if is_healthy(document["status"]) else 503)


def _rows(
    name: str,
    render: Callable[[Any], Document],
    page: Page,
    fetch: Callable[[int, int | None], RowPage],
) -> Response:
    """Answer a list; the first rows are fetched before it begins, so a fault is still a 500."""
    first = fetch(min(page.limit, HISTORY_CHUNK), page.before)

    def write() -> Iterator[str]:
        rows, before = first
        left = page.limit
        yield f'{{"{name}":['
        separator = ""
        while rows:
            chunk = ",".join(json.dumps(render(row), ensure_ascii=False) for row in rows)
            yield separator + chunk
            separator = ","
            left -= len(rows)
            if left <= 0 or before is None:
                break
            rows, before = fetch(min(left, HISTORY_CHUNK), before)
        yield f'],"next_before":{json.dumps(before)}}}\n'

    if page.limit <= HISTORY_CHUNK:
        return Response("".join(write()), content_type="application/json")
    return Response(write(), content_type="application/json")


def _content_type(path: Path) -> str:
    guessed = mimetypes.guess_type(path.name, strict=False)[0] or "text/plain"
    if path.suffix == ".js":
        guessed = "text/javascript"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
