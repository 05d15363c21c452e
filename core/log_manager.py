"""structlog for the bot and the commands. A supervisor never loads this: it has `core.log_files`.

The bot's log is one JSON object per line on descriptor 1, which the supervisor opened as today's
bot_stdout.log; errors stand on descriptor 2 too, as text with the traceback, because that file is
what a person opens first. A line goes out whole, so those of threads never mix, and the
descriptors may be re-pointed at midnight between two lines.

Rules it keeps: a log call never raises; secrets are masked by
`core.masking`; tracebacks are printed without local variables, where keys would be; what reaches
neither log, an exception that nobody caught, is written the same way (requests' exceptions print
the URL with its signature). structlog is imported by the first call, without the optional
prettifiers: merely having rich installed would cost 3.6 MB and 75 ms.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from datetime import datetime
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any

from core.lean import importing_without
from core.log_files import append_line
from core.masking import escape_controls, json_line, mask_text, mask_value

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_UNUSED = ("rich", "better_exceptions", "twisted", "zope")
"""Optional in structlog, which handles their absence; none serves a JSON log."""

_DEFERRED: dict[str, tuple[str, ...]] = {"asyncio": ()}
"""Used by structlog only in its async methods: 30 ms and, with ssl, 3 MB."""

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_MAX_TRACEBACK = 64_000  # characters; a recursion's thousand frames are cut in the middle

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class LineWriter:
    """Writes each event whole: JSON on `out`; from ERROR on also text on `err`. None: nowhere."""

    def __init__(self, out: int | None, err: int | None, err_level: int = 40) -> None:
        self.dropped = 0
        self._lock = threading.RLock()  # a signal handler may log inside a log call
        self._out = out
        self._err = err
        self._err_level = err_level

    def write(self, event: MutableMapping[str, Any]) -> None:
        """Write one event; a full disk or a closed descriptor costs the line and is counted."""
        try:
            error = _exception_text(event.pop("exc_info", None))
            if error is not None:
                event["exception"] = error
            with self._lock:
                self._write(event)
        except Exception:  # a log must never end the one who logs
            self.dropped += 1

    def _write(self, event: MutableMapping[str, Any]) -> None:
        if self._out is not None:
            if self.dropped:
                lost = {"timestamp": event.get("timestamp"), "level": "error"}
                lost |= {"event": "log_lines_dropped", "count": self.dropped}
                append_line(self._out, json_line(lost))
                self.dropped = 0
            append_line(self._out, json_line(event))
        if self._err is not None and LEVELS.get(str(event.get("level")), 40) >= self._err_level:
            append_line(self._err, text_line(event))

    # What structlog calls: every level is written alike, the level stands in the event.
    debug = info = warning = error = critical = exception = write


def configure_bot_logging(
    instance_id: str, *, out: int | None = 1, err: int | None = 2, level: str = "info"
) -> None:
    """Send this process's logs to the two descriptors, as the module docstring says.

    The standard library's loggers (warnings of libraries) and uncaught exceptions of any thread
    go the same way.
    """
    writer = LineWriter(out, err)
    _configure(writer, level, {"instance_id": instance_id})
    _route_everything_else()


def change_level(level: str) -> None:
    """Log from this level on; loggers that exist already follow."""
    structlog = _structlog()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))


def configure_command_logging(level: str = "warning") -> None:
    """Send a command's logs to standard error as text; standard output is left to its result."""
    writer = LineWriter(None, 2, err_level=0)
    _configure(writer, level, {})


def get_logger(**fields: Any) -> FilteringBoundLogger:
    """Give a logger whose events carry `fields`: debug, info, warning, error, exception."""
    logger: FilteringBoundLogger = _structlog().get_logger(**fields)
    return logger


def text_line(event: MutableMapping[str, Any]) -> bytes:
    """Render an event for a person: time, level, name, fields; below it the traceback."""
    fields = dict(event)
    exception = fields.pop("exception", None)
    head = (fields.pop("timestamp", "-"), str(fields.pop("level", "-")).upper())
    name = fields.pop("event", "-")
    words = [*head, name, *(f"{key}={_field(key, item)}" for key, item in fields.items())]
    text = escape_controls(mask_text(" ".join(str(word) for word in words))) + "\n"
    if exception is not None:
        text += escape_controls(mask_text(str(exception)), keep="\n\t").rstrip("\n") + "\n"
    return text.encode("utf-8", "replace")


def _configure(writer: LineWriter, level: str, fields: dict[str, Any]) -> None:
    structlog = _structlog()

    def stamp(
        _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> tuple[tuple[MutableMapping[str, Any]], dict[str, Any]]:
        if method == "exception":
            method = "error"
            event.setdefault("exc_info", True)
        time = datetime.now().astimezone().isoformat(timespec="milliseconds")
        head = {"timestamp": time, "level": method, "event": event.pop("event", "")}
        return ({**head, **fields, **event},), {}

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, stamp],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )


def _structlog() -> Any:
    """Import structlog without what it would only print nicely with, and without asyncio."""
    if "structlog" in sys.modules:
        return sys.modules["structlog"]
    with importing_without(_UNUSED, _DEFERRED):
        return import_module("structlog")


class _Bridge(logging.Handler):
    """Passes what libraries say to the standard library's logging on to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = "error" if record.levelno >= 40 else "warning"
            exc_info = {"exc_info": record.exc_info} if record.exc_info else {}
            log = get_logger(library=record.name)
            getattr(log, level)("library_message", message=record.getMessage(), **exc_info)
        except Exception:  # a broken format string of a library is not ours to die of
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        get_logger(library=record.name).warning("library_message", message=str(record.msg))


def _route_everything_else() -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
    root.addHandler(_Bridge(level=logging.WARNING))
    logging.captureWarnings(True)

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        get_logger().critical("uncaught", error=str(error), exc_info=(kind, error, trace))

    def uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is None or isinstance(error, SystemExit):
            return
        get_logger().critical(
            "uncaught",
            error=str(error),
            thread=arguments.thread.name if arguments.thread else None,
            exc_info=(type(error), error, arguments.exc_traceback),
        )

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread


def _exception_text(exc_info: Any) -> str | None:
    """Render a traceback without locals; structlog's spellings of `exc_info` are all understood."""
    if not exc_info:
        return None
    if isinstance(exc_info, BaseException):
        error: BaseException | None = exc_info
    elif isinstance(exc_info, tuple):
        error = exc_info[1]
    else:
        error = sys.exc_info()[1]
    if error is None:
        return None
    text = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=False).format()
    )
    if len(text) > _MAX_TRACEBACK:
        half = _MAX_TRACEBACK // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"
    return text


def _field(name: str, value: object) -> str:
    masked = mask_value(value, name)
    if isinstance(masked, str) and " " not in masked and masked:
        return masked
    return repr(masked)
