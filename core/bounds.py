"""The kernel's bounds around one instance's child: set, found again, read at its death, removed.

The supervisor's loop calls in; how far the limits go is `core.kernel_limits`', the kernel's files
are `core.cgroups`' and `core.rlimits`'. A group outlives its supervisor with the bot in it; the
next supervisor finds it by the bot. It goes when a supervisor ends and leaves no bot.

Rules it keeps: nothing fails for want of a bound, `memory_limit_mb` is sampled all the same; what
is in force is told as it is; a bound that is changed under a running child never ends it.
Standard library only.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import cgroups, deaths, kernel_limits, process, rlimits
from core.cgroups import Group
from core.family import family
from core.log_files import JsonLineLog
from core.process import Child, ProcStat
from core.spec import ChildSpec

BOT_TASKS = 1024
"""Processes and threads of our bot: it runs 53, and forks nothing but a check."""

_PATIENCE_S = 5.0  # KILL is outlasted only inside an uninterruptible system call
_NOT_BY_MEMORY = (None, "SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What was known of one child's bounds while it lived, to say later what ended it."""

    group: Group | None
    kills: int | None
    memory_mb: int | None
    data_mb: int | None

    def explain(self, record: deaths.Record, code: int | None) -> None:
        """Say that the kernel killed it for want of memory, if its counter says so."""
        if self.group is not None and self.kills is not None:
            # Our own group's count: it speaks of this child, whose code we may not know (adopted).
            if record["cause"] in ("signal", "exit") and code in (None, -signal.SIGKILL):
                words = f"the kernel killed it: over the {self.memory_mb} MB of its cgroup"
                deaths.blame_oom(record, self.kills, self.group.oom_kills(), words)
        elif record["cause"] == "signal" and code == -signal.SIGKILL:
            words = "the kernel killed for want of memory meanwhile"
            deaths.blame_oom(record, self.kills, deaths.oom_kills(), words)

    def explain_words(self, record: deaths.Record, lines: Mapping[str, Sequence[str]]) -> None:
        """Say that it got no more memory, if it ended by itself and its last words say so."""
        ended_badly = (record["cause"] == "exit" and record["code"]) or (
            record["cause"] == "signal" and record["signal"] not in _NOT_BY_MEMORY
        )
        if self.data_mb is None or not ended_badly:
            return
        if kernel_limits.said_memory_is_out(list(lines.values())):
            words = (
                f"it got no more memory: its last lines say so, RLIMIT_DATA is {self.data_mb} MB"
            )
            record |= {"cause": "oom", "reason": words}


class Bounds:
    """One instance's bounds, over all of its children. One thread uses it."""

    def __init__(self, log: JsonLineLog) -> None:
        self._log = log
        self._group: Group | None = None
        self._has_looked = False
        self._kills: int | None = None
        self._set: tuple[int | None, int | None] | None = None
        self._memory_mb: int | None = None  # the group's
        self._data_mb: int | None = None  # each process's

    def describe(self, spec: ChildSpec) -> dict[str, Any]:
        """Say what is in force: `kernel` is "cgroup", "rlimit" or None, `kernel_mb` its number."""
        kernel, number = None, None
        if self._memory_mb is not None:
            kernel, number = "cgroup", self._memory_mb
        elif self._data_mb is not None:
            kernel, number = "rlimit", self._data_mb
        return {
            "memory_mb": spec.limits.memory_limit_mb,
            "cpu_percent": spec.limits.cpu_limit_percent,
            "kernel": kernel,
            "kernel_mb": number,
        }

    # Around a child -------------------------------------------------------------------------------

    def prepare(self, spec: ChildSpec) -> None:
        """Have a group ready, before a child is started; nobody is in it then."""
        if not self._has_looked:
            self._has_looked = True
            self._make_group(spec)
        if self._group is not None:
            try:
                self._kill_strays(self._group)
                self._limit_group(self._group, spec, lives=False)
            except (OSError, ValueError) as error:
                self._give_up(error)

    def enclose(self, child: Child, spec: ChildSpec) -> None:
        """Put the bounds around a child that was started just now."""
        self._limit_process(child.pid, spec, lives=False)
        if self._group is not None:
            try:
                self._group.add(child.pid)
                inside = set(self._group.pids())
                for one in family(child.pid) or ():  # a shell has forked before it was moved
                    if one.pid not in inside:
                        self._group.add(one.pid)
            except ProcessLookupError:
                pass  # it has ended; that is told elsewhere
            except (OSError, ValueError) as error:
                self._give_up(error)
        self._kills = self._count_kills()

    def find(self, child: Child, spec: ChildSpec, members: Iterable[ProcStat]) -> None:
        """Find the bounds of an adopted child again; it stays in the group that it is in."""
        self._group = Group.of(child.pid, spec.instance_id)
        self._has_looked = self._group is not None
        self.change(spec, members)
        self._kills = self._count_kills()

    def change(self, spec: ChildSpec, members: Iterable[ProcStat]) -> None:
        """Go by this spec from now on, with the same child."""
        for member in members:
            self._limit_process(member.pid, spec, lives=True)
        if self._group is not None:
            try:
                self._limit_group(self._group, spec, lives=True)
            except (OSError, ValueError) as error:
                self._memory_mb = None  # it stays our handle on who belongs to the child
                self._log.event("cgroup_failed", "warning", error=str(error))

    def kill(self) -> None:
        """KILL everybody in the group."""
        if self._group is not None:
            with contextlib.suppress(OSError):
                self._group.kill()

    def end_rest(self) -> list[ProcStat]:
        """KILL who is in the group after its child; returns who could not be ended."""
        if self._group is None:
            return []
        with contextlib.suppress(OSError, ValueError):
            return self._kill_strays(self._group)
        return []

    def witness(self) -> Witness:
        """Keep what may explain the death of the present child."""
        return Witness(
            group=self._group,
            kills=self._kills,
            memory_mb=self._memory_mb,
            data_mb=self._data_mb,
        )

    def close(self, *, lives: bool) -> None:
        """Remove the group, unless a child lives on in it."""
        if self._group is not None and not lives:
            with contextlib.suppress(OSError):
                self._group.remove()

    # Within ---------------------------------------------------------------------------------------

    def _make_group(self, spec: ChildSpec) -> None:
        try:
            base, why = cgroups.find_base(cgroups.place_of("self"))
            if base is not None:
                self._group = Group.make(base, spec.instance_id)
                self._log.event("cgroup_made", folder=str(self._group.folder))
            else:
                self._log.event("cgroup_not_used", why=why)
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._group, self._memory_mb = None, None
        self._log.event("cgroup_failed", "warning", error=str(error))

    def _limit_group(self, group: Group, spec: ChildSpec, *, lives: bool) -> None:
        limit = spec.limits.memory_limit_mb
        wanted = None if limit is None else kernel_limits.backstop_bytes(limit)
        if lives and wanted is not None:
            wanted = kernel_limits.never_below(wanted, group.held())
        tasks = BOT_TASKS if spec.is_bot else None
        if self._set != (wanted, tasks):  # a successor waits for it
            group.limit(wanted, tasks)
            self._set = (wanted, tasks)
        self._memory_mb = None if wanted is None else wanted >> 20

    def _limit_process(self, pid: int, spec: ChildSpec, *, lives: bool) -> None:
        limit = spec.limits.memory_limit_mb
        data = rlimits.limit_data(pid, limit, is_bot=spec.is_bot, lives=lives)
        self._data_mb = None if data is None else data >> 20
        if lives:
            return
        if spec.is_bot or spec.environment:
            rlimits.forbid_core_dump(pid)
        if spec.is_bot:
            rlimits.allow_files(pid)

    def _kill_strays(self, group: Group) -> list[ProcStat]:
        """Nobody of an earlier child may be in it; proven like the rest of a group."""
        if not group.pids():
            return []
        group.kill()

        def left() -> list[ProcStat]:
            found = [process.read_stat(pid) for pid in group.pids()]
            return [stat for stat in found if stat is not None and not stat.is_zombie]

        return process.kill_until_empty(left, _PATIENCE_S)

    def _count_kills(self) -> int | None:
        own = self._group.oom_kills() if self._group is not None else None
        return deaths.oom_kills() if own is None else own
