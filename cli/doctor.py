"""`instance_cli doctor`: what is stale under a root, why it is, and its removal.

| stale | how that is known | then |
| --- | --- | --- |
| `daemon.pid`, `bot.pid` | the process does not run, nobody holds the lock | removed (1) |
| `control.sock` | nobody accepts, nobody holds the supervisor lock | removed |
| a temporary file of ours | its writer does not run any more | removed |
| a record that says RUNNING, ... | nothing of the instance lives | becomes STOPPED |
| a record without a config file | nothing lives, and `resurrect` does not want it | removed |

(1) A bot.pid that outlived its bot says that orders may rest; that goes into the record first.

What it can't mend it names, with the command that does: orphans, locks held by strangers, a damaged
desired.json, what was put aside. A live instance is never touched: whatever is changed in a run
directory is changed under its supervisor lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import pidfile, process
from core.accepted import SPEC_NAME, load_accepted
from core.console import Console
from core.control import SOCKET_NAME
from core.desired import Desired
from core.errors import ExitCode, GridfleetError, StoreError
from core.health import read_beat
from core.i18n import t
from core.identity import ProcessId, boot_id, process_start_ticks, read_pid_file
from core.instance_manager import InstanceRegistry
from core.listing import REST_STATES, derive_state
from core.liveness import Liveness
from core.paths import is_safe_name
from core.registry_file import Record, start_command

_TEMP = re.compile(r"\..+\.([0-9]+)\.[0-9a-f]{8}\.tmp")  # core.files.publish
_TEMP_AGE_S = 3600.0  # no write takes that long: a writer's PID that runs then is somebody else's


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing. `cleaned`: it was stale and is gone (or would be); else a human must look."""

    kind: str
    why: str
    cleaned: bool
    instance_id: str | None = None
    path: str | None = None


def doctor(root: Path, console: Console, *, dry_run: bool) -> int:
    """Look, clean and tell; 1 when something is left that it can't mend."""
    findings = Examination(root, dry_run=dry_run).run()
    cleaned = [finding for finding in findings if finding.cleaned]
    problems = [finding for finding in findings if not finding.cleaned]
    if console.as_json:
        console.emit(
            {
                "cleaned": [asdict(finding) for finding in cleaned],
                "problems": [asdict(finding) for finding in problems],
                "dry_run": dry_run,
            }
        )
    else:
        _say(cleaned, problems, console, dry_run=dry_run)
    return int(ExitCode.FAILED if problems else ExitCode.OK)


def _say(
    cleaned: list[Finding], problems: list[Finding], console: Console, *, dry_run: bool
) -> None:
    words = "would clean {what}: {why}" if dry_run else "cleaned {what}: {why}"
    for finding in cleaned:
        console.say(words, what=finding.path or finding.kind, why=finding.why)
    for finding in problems:
        what = finding.path or finding.instance_id or finding.kind
        console.say("look at {what}: {why}", what=what, why=finding.why)
    if not cleaned and not problems:
        console.say("nothing is stale")


class Examination:
    """One look at a root."""

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self._root = root
        self._logs = root / "logs"
        self._dry_run = dry_run
        self._registry = InstanceRegistry(root)
        self._found: list[Finding] = []

    def run(self) -> list[Finding]:
        """Examine everything; findings in the order of the instances."""
        wanted = self._wanted()
        records = self._registry.load()
        folders = self._logs.iterdir() if self._logs.is_dir() else ()
        found = {folder.name for folder in folders if _is_run_dir(folder)}
        for name in sorted(records.keys() | found):
            self._examine(name, records.get(name, {}), is_wanted=wanted is None or name in wanted)
        for folder in (self._logs, self._root / "config" / "active"):
            self._examine_temps(folder, None)
        for path in sorted(self._logs.glob("*.json.damaged-*")):
            why = t("a damaged file that was put aside and rebuilt; delete it once you have looked")
            self._note("damaged_file", why, path=path)
        return self._found

    # One instance ---------------------------------------------------------------------------------

    def _examine(self, name: str, record: Record, *, is_wanted: bool) -> None:
        folder = self._logs / name
        alive = self._registry.liveness(name, record)
        if alive.pid is None:
            with _lock_of(folder) as is_ours:
                if is_ours:
                    # Again, now that nobody can start it; the lock's holder is ourselves.
                    alive = self._registry.liveness(name, record)._replace(pid=None)
                    self._examine_dead(name, folder, record, alive, is_wanted=is_wanted)
        self._examine_temps(folder, name)
        if alive.pid is None:
            self._examine_locks(name, folder, record, alive)

    def _examine_dead(
        self, name: str, folder: Path, record: Record, alive: Liveness, *, is_wanted: bool
    ) -> None:
        """Clean up after a supervisor that is gone; its lock is ours meanwhile."""
        if (found := read_pid_file(folder / pidfile.DAEMON_PID)) is not None:
            why = t("no supervisor holds the lock; process {pid} is none of this", pid=found[0])
            self._remove("pid_file", folder / pidfile.DAEMON_PID, why, name)
        if _is_deaf(folder / SOCKET_NAME):
            self._remove("socket", folder / SOCKET_NAME, t("nobody listens on it"), name)
        if alive.bot_pid is not None:
            return  # an orphan, which the next start adopts
        if not pidfile.is_held(folder / pidfile.BOT_LOCK):
            self._examine_bot_pid(name, folder, record)
        status = record.get("status")
        config = record.get("config_file")
        if record and not is_wanted and not (config and Path(str(config)).exists()):
            unsettled = record.get("orders_unsettled")
            if unsettled:
                why = t("its config file is gone and its orders are not proven gone; stop it")
                self._note("record", why, name)
            else:
                why = t("nothing of it lives, and its config file is gone")
                self._do("record", why, name, lambda: self._registry.unregister(name))
        elif record and status not in REST_STATES:
            why = t("it says {status}, but nothing of it lives", status=str(status))
            gone: dict[str, Any] = {"status": "STOPPED", "pid": None, "bot_pid": None}
            self._do("record", why, name, lambda: self._registry.update(name, **gone))

    def _examine_bot_pid(self, name: str, folder: Path, record: Record) -> None:
        path = folder / pidfile.BOT_PID
        found = read_pid_file(path)
        if found is None:
            return
        pid, start = found
        if start is not None and ProcessId(pid=pid, start=start, boot=boot_id()).is_alive():
            return
        spec = load_accepted(folder)

        def forget() -> None:
            if record and (spec is None or spec.is_bot):
                self._registry.update(name, orders_unsettled=True, bot_pid=None)
            path.unlink()

        why = t("process {pid} does not run, and nobody holds the bot's lock", pid=pid)
        self._do("pid_file", why, name, forget, path)

    def _examine_locks(self, name: str, folder: Path, record: Record, alive: Liveness) -> None:
        command = start_command(name, record.get("config_file"))
        if alive.bot_pid is not None and alive.bot_pid in _named(folder, record):
            state = derive_state(record.get("status"), alive)
            words = "the bot (pid {pid}) has no supervisor; adopt it: {command}"
            why = t(words, pid=alive.bot_pid, command=command)
            self._note(state.lower(), why, name)
            return
        for lock in (pidfile.SUPERVISOR_LOCK, pidfile.BOT_LOCK):
            if not pidfile.is_held(folder / lock):
                continue
            holders = [holder.pid for holder in process.lock_holders(folder / lock)]
            pids = ", ".join(map(str, holders)) or "?"
            words = "held by a process that is neither its supervisor nor its bot: pid {pids}"
            why = t(words, pids=pids)
            self._note("lock", why, name, folder / lock)

    # Files ----------------------------------------------------------------------------------------

    def _examine_temps(self, folder: Path, name: str | None) -> None:
        """Find what a killed writer left half written."""
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            return
        for path in entries:
            match = _TEMP.fullmatch(path.name)
            if match is None or path.is_dir():
                continue
            with contextlib.suppress(OSError):
                age = time.time() - path.lstat().st_mtime
                if process_start_ticks(int(match[1])) is None or age > _TEMP_AGE_S:
                    why = t("half written by process {pid}, which is gone", pid=match[1])
                    self._remove("temp_file", path, why, name)

    def _wanted(self) -> set[str] | None:
        """Read what `resurrect` needs; None when nobody can tell: then nothing is unwanted."""
        desired = Desired(self._root)
        try:
            return set(desired.load())
        except StoreError as error:
            self._note("desired", str(error), path=desired.path)
            return None

    # Telling and doing ----------------------------------------------------------------------------

    def _note(self, kind: str, why: str, name: str | None = None, path: Path | None = None) -> None:
        where = str(path) if path is not None else None
        self._found.append(Finding(kind=kind, why=why, cleaned=False, instance_id=name, path=where))

    def _remove(self, kind: str, path: Path, why: str, name: str | None) -> None:
        self._do(kind, why, name, path.unlink, path)

    def _do(
        self,
        kind: str,
        why: str,
        name: str | None,
        action: Callable[[], object],
        path: Path | None = None,
    ) -> None:
        where = str(path) if path is not None else str(self._registry.path)
        try:
            if not self._dry_run:
                action()
        except FileNotFoundError:
            return
        except (GridfleetError, OSError) as error:
            self._note(kind, f"{why}; {error}", name, path)
            return
        self._found.append(Finding(kind=kind, why=why, cleaned=True, instance_id=name, path=where))


def _is_run_dir(folder: Path) -> bool:
    """Whether a supervisor has been at work there; other folders are none of our business."""
    if not is_safe_name(folder.name) or folder.is_symlink():
        return False
    marks = (pidfile.SUPERVISOR_LOCK, SPEC_NAME, pidfile.DAEMON_PID, pidfile.BOT_PID)
    return any(os.path.lexists(folder / mark) for mark in marks)


def _named(folder: Path, record: Record) -> set[object]:
    """The PIDs that the instance's own files give as its bot's."""
    found = read_pid_file(folder / pidfile.BOT_PID)
    beat = read_beat(folder / "heartbeat")
    return {record.get("bot_pid"), found and found[0], beat and beat.pid} - {None}


@contextlib.contextmanager
def _lock_of(folder: Path) -> Iterator[bool]:
    """Hold the supervisor lock meanwhile; False when somebody has it.

    While we hold it no supervisor can begin, so what is found dead stays so. Where there is no lock
    file none has ever begun.
    """
    path = folder / pidfile.SUPERVISOR_LOCK
    if not path.exists():
        yield True
        return
    try:
        fd = pidfile.acquire(path)
    except OSError:
        fd = None
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def _is_deaf(path: Path) -> bool:
    """Whether a socket is there and nobody listens on it."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            probe.connect(f"/proc/self/fd/{fd}/{path.name}")  # a deep root passes 108 bytes so
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        finally:
            os.close(fd)
    return False
