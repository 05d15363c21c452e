"""What is looked at before a start: `run.py --check`, and the confirmation of a live start.

The check runs as its own process with the environment that the bot would get, so that neither this
command nor a supervisor ever loads trading code. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.check_report import REPORT_MARK, REPORT_VARIABLE
from core.child import expand_environment
from core.console import Console
from core.errors import ExitCode
from core.files import make_private_dir, publish
from core.paths import run_dir
from core.process import group_members, kill_until_empty, reap
from core.spawning import EXEC_FAILED, SpawnError, spawn
from core.spec import ChildSpec

CHECK_OPTION = "--check"
CHECK_TIMEOUT_S = 60.0
_MAX_OUTPUT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """How `run.py --check` ended and what it printed, both streams together.

    `report` is its own account for a program: `faults`, `warnings` and `preflight`; empty when it
    did not come to that, or is another program than ours.
    """

    code: int
    output: str
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> tuple[str, ...]:
        """What it refused, one fault each; never empty when it failed."""
        if self.code == ExitCode.OK:
            return ()
        told = self.report.get("faults")
        if isinstance(told, list) and told:
            return tuple(str(fault) for fault in told)
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        last = lines[-1] if lines else "it printed nothing"
        return (f"the bot's own check ended with {self.code}: {last}",)


def run_check(
    spec: ChildSpec, timeout_s: float = CHECK_TIMEOUT_S, *, is_english: bool = False
) -> CheckResult:
    """Run the bot's own check of this spec, to its end or the timeout.

    `is_english` whatever the locale, for what goes into JSON.
    """
    folder = run_dir(Path(spec.root), spec.instance_id)

    def environment() -> dict[str, str]:
        return {
            **os.environ,
            **expand_environment(spec),
            "INSTANCE_ID": spec.instance_id,
            "CONFIG_FILE": spec.config_path,
            "WEB_HOST": spec.web_host,
            "WEB_PORT": str(spec.web_port or 0),
            "DB_PATH": spec.db_path,
            "LOG_DIR": spec.logs.log_dir,
            "GRID_ROOT": spec.root,
            "GRID_RUN_DIR": str(folder),
            "GRID_CONFIG_SOURCE": spec.config_path,
            REPORT_VARIABLE: "1",
            **({"LC_ALL": "C.UTF-8"} if is_english else {}),
        }

    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        child = spawn(
            (*spec.argv, CHECK_OPTION),
            cwd=spec.working_dir,
            env=environment,
            stdout=writer,
            stderr=writer,
        )
    except SpawnError as error:
        os.close(reader)
        return CheckResult(code=EXEC_FAILED, output=str(error))
    finally:
        os.close(writer)
    try:
        output, in_time = _read(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
        kill_until_empty(lambda: group_members(child.pid), 5.0)
        child.close()
    code = reap(child.pid)
    if not in_time:
        return CheckResult(code=-signal.SIGKILL, output=f"{output}\nno end within {timeout_s:g} s")
    words, report = _split(output)
    return CheckResult(code=code, output=words, report=report)


def _split(output: str) -> tuple[str, dict[str, Any]]:
    """Part the words from the line for a program; what is no such line stays with the words."""
    words, report = [], {}
    for line in output.split("\n"):  # `splitlines` would split at the mark too
        if line.startswith(REPORT_MARK):
            try:
                found = json.loads(line[len(REPORT_MARK) :])
            except ValueError:
                found = None
            if isinstance(found, dict):
                report = found
                continue
        words.append(line)
    return "\n".join(words), report


def allow_live(spec: ChildSpec, console: Console, *, ask: bool) -> int:
    """Show what a live start would do and ask once per config version; OK when it may start."""
    if not spec.is_bot or spec.mode != "live":
        return ExitCode.OK
    result = run_check(spec)
    console.complain("{text}", text=result.output.rstrip())
    if result.code not in (ExitCode.OK, ExitCode.PORT_TAKEN):  # a taken port is tried again
        return ExitCode.USAGE if result.code == ExitCode.USAGE else ExitCode.FAILED
    folder = make_private_dir(run_dir(Path(spec.root), spec.instance_id))
    agreed = folder / "agreed"
    version = hashlib.sha256(spec.config_text.encode()).hexdigest()
    try:
        if agreed.read_text(encoding="ascii").strip() == version:
            return ExitCode.OK
    except OSError:
        pass
    if ask and not console.ask("start trading live with this?"):
        return ExitCode.FAILED
    publish(agreed, version + "\n")
    return ExitCode.OK


def _read(fd: int, deadline: float) -> tuple[str, bool]:
    """Read to the end of the stream or the deadline; what came, and whether it ended in time."""
    chunks = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([fd], [], [], left)[0]:
            break
        chunk = os.read(fd, 65536)
        if not chunk:
            return chunks.decode("utf-8", "replace"), True
        chunks = (chunks + chunk)[:_MAX_OUTPUT]
    return chunks.decode("utf-8", "replace"), False
