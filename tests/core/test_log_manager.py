"""structlog as the bot and the commands use it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.log_manager import configure_bot_logging, configure_command_logging, get_logger

FAKE = "fk3S9aQ0zz8LwPq"


class Outputs:
    """The two descriptors of a bot, as files."""

    def __init__(self, folder: Path) -> None:
        self.out_path, self.err_path = folder / "out", folder / "err"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.out, self.err = os.open(self.out_path, flags), os.open(self.err_path, flags)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out_path.read_text().splitlines()]

    def errors(self) -> str:
        return self.err_path.read_text()


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Outputs]:
    """Logging configured as a bot's; everything global is put back."""
    hooks = sys.excepthook, threading.excepthook
    handlers = list(logging.getLogger().handlers)
    found = Outputs(tmp_path)
    configure_bot_logging("bp_sol_01", out=found.out, err=found.err)
    yield found
    structlog.reset_defaults()
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    os.close(found.out)
    os.close(found.err)


def test_an_event_is_one_json_line(outputs: Outputs) -> None:
    """Time with zone, level, name, instance, then what the caller gave."""
    get_logger(part="desk").info("order_placed", price="150.00", note="a\nb")

    (event,) = outputs.events()
    assert list(event) == ["timestamp", "level", "event", "instance_id", "part", "price", "note"]
    assert event["timestamp"][-6] in "+-"
    assert (event["level"], event["event"], event["note"]) == ("info", "order_placed", "a\nb")
    assert outputs.errors() == ""


def test_errors_stand_on_both_outputs_without_locals(outputs: Outputs) -> None:
    """JSON on the one; time, name and traceback as text on the other; no local variables."""
    try:
        hidden = [FAKE]
        raise ValueError(f"bad reply, hidden {len(hidden)}")
    except ValueError as error:
        get_logger().exception("crashed", error=str(error))

    (event,) = outputs.events()
    assert event["level"] == "error"
    assert "ValueError: bad reply" in event["exception"]
    lines = outputs.errors().splitlines()
    assert "ERROR crashed" in lines[0]
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: bad reply, hidden 1"
    assert FAKE not in outputs.errors() + str(event)


def test_secrets_are_masked_on_both_outputs(outputs: Outputs) -> None:
    """By name, and in the URL that an exception of requests prints."""
    try:
        raise OSError(f"Max retries exceeded with url: /api?symbol=X&signature={FAKE}")
    except OSError as error:
        get_logger(api_key=FAKE).error("request_failed", exc_info=error, error=str(error))

    assert FAKE not in outputs.out_path.read_text() + outputs.errors()
    assert "signature=***" in outputs.errors()


def test_libraries_and_warnings_arrive(outputs: Outputs) -> None:
    """What is said to the standard library's logging is not lost, even with a broken format."""
    root = logging.getLogger()
    root.handlers[:] = [
        handler for handler in root.handlers if type(handler).__module__ == "core.log_manager"
    ]  # pytest's own raise where logging itself would not
    logging.getLogger("urllib3").warning("retrying %s", f"https://x/?token={FAKE}")
    logging.getLogger("urllib3").warning("broken %d", "text")
    logging.getLogger("urllib3").info("chatter")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("deprecated", stacklevel=1)

    messages = [event["message"] for event in outputs.events()]
    assert messages[0] == "retrying https://x/?token=***"
    assert messages[1] == "broken %d"
    assert "UserWarning: deprecated" in messages[2]
    assert len(messages) == 3


def test_an_exception_in_a_thread_is_logged(outputs: Outputs) -> None:
    """Masked and with its traceback, instead of raw on standard error."""

    def fail() -> None:
        raise RuntimeError(f"secret={FAKE}")

    thread = threading.Thread(target=fail, name="feed")
    thread.start()
    thread.join()

    (event,) = outputs.events()
    assert (event["event"], event["thread"], event["error"]) == ("uncaught", "feed", "secret=***")
    assert "in fail" in outputs.errors()
    assert FAKE not in outputs.errors()


def test_a_closed_output_raises_nothing_and_counts(outputs: Outputs) -> None:
    """A log call never ends the one who logs; what was dropped is said when it works again."""
    kept = os.dup(outputs.out)
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, outputs.out)  # a write raises EPIPE
    get_logger().info("lost")
    get_logger().info("lost")
    os.dup2(kept, outputs.out)

    get_logger().info("after")

    told = [(event["event"], event.get("count")) for event in outputs.events()]
    assert told == [("log_lines_dropped", 2), ("after", None)]
    os.close(kept)
    os.close(writer)


def test_lines_of_threads_do_not_mix(outputs: Outputs) -> None:
    """Every line parses and every event is there."""

    def work(name: int) -> None:
        for number in range(100):
            get_logger().info("tick", name=name, number=number, padding="x" * 300)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({(event["name"], event["number"]) for event in outputs.events()}) == 800


def test_debug_is_left_out_until_asked_for(outputs: Outputs) -> None:
    """The level of the configuration holds."""
    get_logger().debug("detail")
    configure_bot_logging("bp_sol_01", out=outputs.out, err=outputs.err, level="debug")
    get_logger().debug("shown")

    assert [event["event"] for event in outputs.events()] == ["shown"]


def test_a_command_logs_to_standard_error_as_text(
    outputs: Outputs, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard output is left to the result; control characters are escaped."""
    configure_command_logging()
    get_logger().warning("odd", name="a\x1b[2J b", count=2)
    get_logger().info("chatter")

    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("WARNING odd name='a\\x1b[2J b' count=2\n")


_UNCAUGHT = """
from core.log_manager import configure_bot_logging
configure_bot_logging("a")
raise ValueError("signature=%s")
"""


def test_an_uncaught_exception_is_masked_and_keeps_its_exit_code() -> None:
    """The process ends with 1 as ever, and both outputs tell why."""
    done = subprocess.run(
        [sys.executable, "-c", _UNCAUGHT % FAKE], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert json.loads(done.stdout)["event"] == "uncaught"
    assert "ValueError: signature=***" in done.stderr
    assert FAKE not in done.stdout + done.stderr


def test_structlog_comes_without_prettifiers_and_only_when_used() -> None:
    """Importing the module loads no structlog; using it loads no rich."""
    code = (
        "import sys, core.log_manager as m; assert 'structlog' not in sys.modules;"
        "m.configure_bot_logging('a'); assert 'structlog' in sys.modules;"
        "assert 'rich' not in sys.modules and 'rich.traceback' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
