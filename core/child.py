"""The child of one instance: start it, find one that lives already, end it, read what it left.

What lives here: the environment and the lock that a child gets, stop.json and exit.json, adoption,
the clearing of leftovers, the finish step. Whether and when is `core.supervision`'s, the waiting is
`core.supervisor`'s.

Rules it keeps: the bot lock is taken before exec and passed on; nothing is started while a process
of an earlier child lives; secrets go by environment, never by argument. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from core import pidfile, process
from core.accepted import CONFIG_NAME
from core.errors import ExitCode
from core.family import children_of, family, is_childless_but
from core.files import publish, sync_dir
from core.health import read_beat
from core.identity import ProcessId, boot_id, read_pid_file
from core.output import Output, make_output
from core.process import Child, ProcStat
from core.spawning import EXEC_FAILED, spawn, spawn_plain
from core.spec import ChildSpec
from core.supervision_types import Cause, OrdersLeft

FINISH_OPTION = "--cancel-orders"
KILL_PATIENCE_S = 5.0  # a process outlasts KILL only inside an uninterruptible system call

_UNTOUCHED_CODES = frozenset({ExitCode.USAGE, ExitCode.PORT_TAKEN, EXEC_FAILED})
"""Exits that come before a bot looks at its orders: it binds its port before it trades."""


class LeftoversError(Exception):
    """Processes of an earlier child hold the bot lock and can't be ended."""


class ChildRunner:
    """One instance's child processes. One thread uses it."""

    def __init__(self, spec: ChildSpec, run_dir: Path, *, web_port: int, started_at: str) -> None:
        self.spec = spec
        self.run_dir = run_dir
        self.web_port = web_port
        self.started_at = started_at
        self.output: Output = make_output(
            is_bot=spec.is_bot, run_dir=run_dir, log_dir=Path(spec.logs.log_dir)
        )
        self.spare: set[int] = set()  # short-lived helpers of ours; no member of any group
        self._terminated: tuple[int, bool] | None = None  # (pid, keep_orders)

    # Starting -----------------------------------------------------------------------------------

    def spawn(self) -> Child:
        """Start the child. Errors: SpawnError, LeftoversError, OSError; nothing runs then.

        A full disk does not keep it from running without a bot.pid (its heartbeat names it too);
        a link planted at that name does.
        """
        pid_file = self.run_dir / pidfile.BOT_PID
        if pid_file.is_symlink():
            raise OSError(f"{pid_file}: is a link; we made no such thing, look at it and remove it")
        for name in ("stop.json", "exit.json"):
            with contextlib.suppress(FileNotFoundError):
                (self.run_dir / name).unlink()
        child = self._start(self.spec.argv)
        with contextlib.suppress(OSError):
            is_new = not pid_file.exists()
            pidfile.write_pid(pid_file, child.pid, child.start)
            if is_new and self.spec.is_bot:
                # That there is one outlives a power cut (orders may rest); what is in it need not.
                sync_dir(self.run_dir)
        return child

    def start_finish(self) -> Child:
        """Start the finish step: the bot's own program with one more option."""
        return self._start((*self.spec.argv, FINISH_OPTION))

    def _start(self, argv: tuple[str, ...]) -> Child:
        lock = self._take_lock()
        try:
            stdout, stderr = self.output.open()
            try:
                how: dict[str, Any] = {
                    "cwd": self.spec.working_dir,
                    "stdout": stdout,
                    "stderr": stderr,
                    "keep_fds": (lock,),
                }
                if self.spec.environment:  # its values may be secrets: they are not for us
                    return spawn(argv, env=lambda: self._environment(lock), **how)
                return spawn_plain(argv, env=self._environment(lock), **how)
            finally:
                os.close(stdout)
                os.close(stderr)
        finally:
            os.close(lock)  # the child's copy keeps it held

    def _take_lock(self) -> int:
        lock_path = self.run_dir / pidfile.BOT_LOCK
        lock = pidfile.acquire(lock_path)
        if lock is None:
            self.clear_leftovers()
            lock = pidfile.acquire(lock_path)
        if lock is None:
            holders = ", ".join(str(h.pid) for h in process.lock_holders(lock_path)) or "unknown"
            raise LeftoversError(f"{lock_path}: still held by process {holders}")
        return lock

    def _environment(self, lock: int) -> dict[str, str]:
        """Make the child's environment; with secrets in it, that is done in the forked child."""
        return {
            **os.environ,
            **expand_environment(self.spec),
            "INSTANCE_ID": self.spec.instance_id,
            "CONFIG_FILE": str(self.run_dir / CONFIG_NAME),
            "WEB_HOST": self.spec.web_host,
            "WEB_PORT": str(self.web_port),
            "DB_PATH": self.spec.db_path,
            "LOG_DIR": self.spec.logs.log_dir,
            "GRID_ROOT": self.spec.root,
            "GRID_RUN_DIR": str(self.run_dir),
            "GRID_BOT_LOCK_FD": str(lock),
            "GRID_STARTED_AT": self.started_at,
            "GRID_CONFIG_SOURCE": self.spec.config_path,
        }

    # Finding ------------------------------------------------------------------------------------

    def find_live(self) -> Child | None:
        """Adopt the bot that lives already: its lock is held and PID and start time match.

        bot.pid names it; should that be gone, the bot's own heartbeat does, if that process
        itself holds the lock.
        """
        lock = self.run_dir / pidfile.BOT_LOCK
        identity = pidfile.live_holder(lock, self.run_dir / pidfile.BOT_PID)
        if identity is not None and not _has_lock(identity.pid, lock):
            identity = None  # a file can say anything; the lock is held by somebody else
        if identity is None and (beat := read_beat(self.run_dir / "heartbeat")) is not None:
            holders = {(h.pid, h.start) for h in process.lock_holders(lock)}
            if (beat.pid, beat.start) in holders:
                identity = ProcessId(pid=beat.pid, start=beat.start, boot=boot_id())
        child = process.adopt(identity) if identity is not None else None
        if child is not None:
            with contextlib.suppress(OSError):  # a full disk must not cost us the adoption
                pidfile.write_pid(self.run_dir / pidfile.BOT_PID, child.pid, child.start)
        return child

    def clear_leftovers(self) -> list[int]:
        """End what an earlier child left behind: who holds its lock, and their group.

        Returns the PIDs found. Only processes that hold the bot lock itself, or belong to the
        session that bot.pid names, are touched.
        """
        lock = self.run_dir / pidfile.BOT_LOCK
        if (free := pidfile.acquire(lock)) is not None:
            os.close(free)
            return []  # nobody holds it: no need to look through all processes
        named = read_pid_file(self.run_dir / pidfile.BOT_PID)
        found: set[int] = set()

        def leftovers() -> list[ProcStat]:
            holders = process.lock_holders(lock)
            sessions = {h.session for h in holders if named and h.session == named[0]}
            members = {m.pid: m for session in sessions for m in process.group_members(session)} | {
                h.pid: h for h in holders
            }
            found.update(members)
            return list(members.values())

        process.kill_until_empty(leftovers, KILL_PATIENCE_S)
        return sorted(found)

    # Ending -------------------------------------------------------------------------------------

    def terminate(
        self, child: Child, cause: Cause, *, keep_orders: bool, close_positions: bool
    ) -> None:
        """Write why, then TERM the child and its group."""
        note = {
            "v": 1,
            "keep_orders": keep_orders,
            "close_positions": close_positions,
            "reason": cause.value,
        }
        self._terminated = (child.pid, keep_orders)
        try:
            # Not through to the disk: a bot does not outlive a power cut.
            publish(self.run_dir / "stop.json", json.dumps(note) + "\n", durable=False)
        finally:
            # A full disk must not keep a bot from being stopped.
            process.send(child.pidfd, signal.SIGTERM)
            rest = [m for m in self.members(child) if m.pid != child.pid]
            process.signal_members(rest, signal.SIGTERM)

    def kill(self, child: Child) -> None:
        """KILL the child and its group."""
        process.send(child.pidfd, signal.SIGKILL)
        process.signal_members(self.members(child), signal.SIGKILL)

    def sweep(self, child: Child) -> list[ProcStat]:
        """KILL what the ended child left running; returns who could not be ended."""
        if self._reaper(child) is not None and is_childless_but(child.pid, self.spare):
            return []  # its orphans would have come to us

        def left() -> list[ProcStat]:
            found = {member.pid: member for member in self.members(child)}
            if self._reaper(child) is None:
                # Its orphans do not come to us; those that inherited its lock still show.
                holders = process.lock_holders(self.run_dir / pidfile.BOT_LOCK)
                found |= {holder.pid: holder for holder in holders if holder.pid != child.pid}
            return list(found.values())

        return process.kill_until_empty(left, KILL_PATIENCE_S)

    def members(self, child: Child) -> list[ProcStat]:
        """The living members of the child's group: it and what descends from it.

        By the kernel's lists of children, at the price of the family; where those are missing, or
        orphans do not come to us, by a look through all processes.
        """
        if self._reaper(child) is None:
            return self._members_by_group(child)
        orphans = children_of(os.getpid())
        adopted = set(orphans or ()) - self.spare
        found = family(child.pid, adopted=adopted) if orphans is not None else None
        return self._members_by_group(child) if found is None else found

    def sample(self, child: Child) -> list[ProcStat]:
        """As `members`; of an adopted child by the lists too, which miss who left its group."""
        if self._reaper(child) is not None:
            return self.members(child)
        found = family(child.pid)
        return self._members_by_group(child) if found is None else found

    def _members_by_group(self, child: Child) -> list[ProcStat]:
        leader = process.read_stat(child.pid)
        if leader is not None and leader.start != child.start:
            return []  # the number is reused, which the kernel allows only for an empty group
        return process.group_members(
            child.pid, reaper=self._reaper(child) or child.pid, spare=self.spare
        )

    def _reaper(self, child: Child) -> int | None:
        """Who gets the child's orphans: we, unless we adopted it.

        As PID 1 of a container everybody's orphans come to us, not only the child's.
        """
        return os.getpid() if child.ours and os.getpid() != 1 else None

    def close(self) -> None:
        self.output.close()

    # What it left -------------------------------------------------------------------------------

    def judge_exit(self, child: Child, code: int | None) -> tuple[int | None, OrdersLeft, str]:
        """Say how the child ended: its code, what it left resting, and its own words.

        `code` None: not our child, so only exit.json can tell; without one that is a crash.
        """
        note = self._exit_note(child)
        if code is None and isinstance(note.get("code"), int):
            code = note["code"]
        cause = str(note.get("cause", ""))
        if not self.spec.is_bot:
            return code, OrdersLeft.NONE, cause
        if note.get("untouched") is True:
            return code, OrdersLeft.UNTOUCHED, cause
        left = note.get("orders_left")
        if isinstance(left, int):
            return code, OrdersLeft.NONE if left == 0 else OrdersLeft.MAYBE, cause
        if code in _UNTOUCHED_CODES:
            return code, OrdersLeft.UNTOUCHED, cause
        kept = self._terminated is not None and self._terminated == (child.pid, True)
        if code == ExitCode.OK and not kept:
            return code, OrdersLeft.NONE, cause  # CONTRACT 6: it cancelled them, then left
        return code, OrdersLeft.MAYBE, cause

    def _exit_note(self, child: Child) -> dict[str, Any]:
        try:
            note = json.loads((self.run_dir / "exit.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(note, dict) or note.get("pid") != child.pid:
            return {}
        return note if note.get("start") in (child.start, None) else {}


def _has_lock(pid: int, lock: Path) -> bool:
    """Whether the process holds the lock, or has its session hold it.

    A program may close what it inherited and leave the lock to its workers.
    """
    return process.holds_lock(pid, lock) or any(
        holder.session == pid for holder in process.lock_holders(lock)
    )


def expand_environment(spec: ChildSpec) -> dict[str, str]:
    """Expand the config's `environment` section: the environment, then `.env`, then `env_file`.

    Called in a forked child only: the imports and the values die with its exec.
    Errors: MissingVariable, BrokenReference (ValueError and LookupError) name the key.
    """
    if not spec.environment:
        return {}
    from core.config_files import EnvFile, Variables
    from core.config_text import BrokenReference, MissingVariable, expand_text

    paths = (Path(spec.root) / ".env", *map(Path, spec.env_files))
    variables = Variables(os.environ, [EnvFile(path, str(path)) for path in paths])
    expanded = {}
    for key, text in spec.environment.items():
        try:
            expanded[key] = expand_text(text, variables)
        except MissingVariable as error:
            raise LookupError(
                f"daemon_config.environment.{key}: the variable {error.name} is not set"
            ) from None
        except BrokenReference:
            raise ValueError(f"daemon_config.environment.{key}: a broken ${{...}}") from None
    return expanded
