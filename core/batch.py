"""One verb's work on several instances: checked, launched together, waited for together, told.

Shared by the verbs of `core.starting`. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from core import process
from core.config_manager import SpecResult
from core.console import Console
from core.control import ControlError, Message, connect
from core.desired import Desired, Wanted
from core.errors import ExitCode, GridfleetError
from core.i18n import t
from core.identity import identify
from core.instance_manager import InstanceRegistry
from core.launch import Launch, Launched, launch, wait_all
from core.log_files import parts, tail
from core.paths import run_dir
from core.preflight import allow_live
from core.registry_file import web_url
from core.spec import ChildSpec
from core.supervision_types import Restart
from core.targets import Target
from core.validating import claim_faults

LOG_LINES = 10
STOPPED_MEANWHILE = "another command stops it"
# The supervisor's own verdict at `startup_timeout` comes first; this much later we would ask why.
_GRACE_S = 2.0
_AT_REST = frozenset({"STOPPED", "EXITED", "FATAL"})
_NOT_UP = _AT_REST | {"STOPPING", "FINISHING"}
_RELOAD_S = 60.0  # a check is 0.3 s, a moved grid up to 10 s; the supervisor has its own time-outs
_ENDING_S = 2.0  # from its last record a supervisor needs some milliseconds to its end


class Batch:
    """One verb's work on several instances: launched together, waited for together."""

    def __init__(
        self,
        root: Path,
        console: Console,
        *,
        wait_s: float | None,
        forget_refused: bool = False,
    ) -> None:
        """`forget_refused`: a config that its bot refuses is no longer one that should run."""
        self._root = root
        self._console = console
        self._wait_s = wait_s
        self._forget_refused = forget_refused
        self._registry = InstanceRegistry(root)
        self._newly_wanted: set[str] = set()
        self._pending: list[tuple[Launch, bool]] = []
        self._launched: list[Launched] = []
        self.outcomes: dict[str, str] = {}
        self._results: list[Message] = []
        self._codes: list[int] = []
        self._began = time.time()
        self._records: dict[str, dict[str, Any]] | None = None

    @property
    def has_invalid(self) -> bool:
        return ExitCode.USAGE in self._codes

    def accept(self, results: Sequence[SpecResult]) -> list[ChildSpec]:
        """Keep what is valid and report the rest, two configs of one id included."""
        kept: dict[str, ChildSpec] = {}
        for result in results:
            if result.spec is None:
                self.refuse_config(result.name, result.faults)
                continue
            spec = result.spec
            for warning in spec.warnings:
                self._console.complain("warning: {text}", text=warning)
            twin = kept.get(spec.instance_id)
            if twin is not None:
                words = f"instance id {spec.instance_id} is also {twin.config_path}'s"
                self.refuse_config(spec.config_path, (f"{spec.config_path}: {words}",))
                continue
            kept[spec.instance_id] = spec
        return list(kept.values())

    def is_running(self, instance_id: str) -> bool:
        """Whether a supervisor of it lives."""
        return self._registry.liveness(instance_id).pid is not None

    def refuse_running(self, spec: ChildSpec, *, skip: bool) -> bool:
        """Report an instance whose supervisor lives; True when there is nothing to start.

        A supervisor on its way down, or that has given up and waits for its slow retry, is told to
        start again; one that is just ending is waited for.
        """
        alive = self._registry.liveness(spec.instance_id)
        if alive.pid is None:
            return False
        record = self._registry.get(spec.instance_id) or {}
        if record.get("status") in _NOT_UP and self._ask(spec, "start", started_at=now_iso()):
            return True
        if record.get("status") in _AT_REST and _has_ended(alive.pid):
            return False
        url = web_url(record)
        state = record.get("status")
        entry = {
            "instance_id": spec.instance_id,
            "ok": skip,
            "state": state,
            "pid": alive.pid,
            "bot_pid": alive.bot_pid,
            "web_url": url,
            "error": None if skip else "already running",
        }
        self._results.append(entry)
        words = "{id}: is running already ({state}, pid {pid}, {url})"
        told = {"id": spec.instance_id, "state": state, "pid": alive.pid, "url": url or "-"}
        if skip:
            self._console.say(words, **told)
        else:
            self._console.complain(words, **told)
            self._codes.append(ExitCode.FAILED)
        return True

    def allow_live(self, spec: ChildSpec, *, ask: bool) -> bool:
        """Make the checks that a live start shows; True when it may start."""
        code = allow_live(spec, self._console, ask=ask)
        if code == ExitCode.OK:
            return True
        self.fail(spec.instance_id, code, "it was not started")
        return False

    def launch(self, spec: ChildSpec, *, started_at: str | None = None, **options: Any) -> None:
        """Have a supervisor forked; a live bot whose supervisor died keeps its start time."""
        if started_at is None:
            started_at = self._started_at_of(spec.instance_id)
        await_start = options.pop("await_start", False)
        wait_s = self._wait_of(spec)
        self._pending.append(
            (Launch(spec=spec, started_at=started_at, wait_s=wait_s, **options), await_start)
        )

    def flush(self) -> None:
        """Fork the supervisors that were asked for, all from here."""
        pending, self._pending = self._pending, []
        self._want([one for one, _ in pending if one.keep_desired and not one.to_stop])
        started = launch(*(one for one, _ in pending)) if pending else []
        for one, (_, await_start) in zip(started, pending, strict=True):
            one.await_start = await_start
            self._launched.append(one)

    def wait_next(self) -> None:
        """Wait until one more of those launched is ready, or will not be."""
        wait_all(self._undecided(), self._report, only_next=True)

    def _undecided(self) -> list[Launched]:
        return [one for one in self._launched if one.spec.instance_id not in self.outcomes]

    def _want(self, launches: list[Launch]) -> None:
        """Note in one write what should run; each supervisor then finds its word there already."""
        entries = {
            one.spec.instance_id: Wanted(
                config_path=one.spec.config_path, started_at=one.started_at
            )
            for one in launches
        }
        with contextlib.suppress(GridfleetError, OSError):  # they try again, and log it
            self._newly_wanted.update(Desired(self._root).enter_all(entries))

    def _started_at_of(self, instance_id: str) -> str:
        """As `started_at_of`, by records read before the first launch.

        Supervisors that have been launched write theirs; to wait for them here would make the
        others wait.
        """
        if self._records is None:
            self._records = self._registry.load()
        record = self._records.get(instance_id, {})
        alive = self._registry.liveness(instance_id, record)
        return str(record.get("started_at") or now_iso()) if alive.bot_pid else now_iso()

    def restart(self, spec: ChildSpec) -> None:
        """Replace the bot, by its supervisor where that lives."""
        clashes = claim_faults(self._registry, spec)
        if clashes:
            self.refuse_config(spec.config_path, clashes)
            return
        if self.is_running(spec.instance_id):
            if not self._ask(spec, "restart"):
                self.fail(spec.instance_id, ExitCode.FAILED, "its supervisor does not answer")
            return
        orphan = self._registry.liveness(spec.instance_id).bot_pid is not None
        self.launch(spec, first=Restart(), await_start=orphan)

    def reload(self, target: Target, spec: ChildSpec) -> bool:
        """Have the living supervisor apply a spec that needs no new bot; False: it failed (told).

        Should it find that a restart is needed after all (no page answers), that is done.
        """
        pid = self._registry.liveness(spec.instance_id).pid
        try:
            with connect(target.folder, pid or 0) as client:
                client.ask("reload", watch=True, spec=spec.to_json())
                answer = client.read(time.monotonic() + _RELOAD_S)
                while answer is not None and answer.get("event") != "reloaded":
                    answer = client.read(time.monotonic() + _RELOAD_S)
        except ControlError as error:
            self.fail(spec.instance_id, ExitCode.FAILED, str(error))
            return False
        if answer is None or not answer.get("ok"):
            words = str((answer or {}).get("error") or "its supervisor ended meanwhile")
            self.fail(spec.instance_id, ExitCode.FAILED, words)
            return False
        return True

    def replace_supervisor(self, target: Target) -> None:
        """Let the supervisor go without its bot, and adopt the bot with a new one."""
        spec = target.spec()
        if spec is None:
            self.fail(target.instance_id, ExitCode.FAILED, "unknown instance")
            return
        alive = self._registry.liveness(target.instance_id)
        if not alive.is_any_alive:
            self.fail(target.instance_id, ExitCode.FAILED, "it is not running; start it")
            return
        if alive.pid is not None:
            try:
                with connect(target.folder, alive.pid) as client:
                    client.ask("detach")
                    client.read(time.monotonic() + 10.0)  # the end of the stream
            except ControlError as error:
                self.fail(target.instance_id, ExitCode.FAILED, str(error))
                return
        record = self._registry.get(target.instance_id) or {}
        wanted = target.instance_id in Desired(self._root).load()
        self.launch(
            replace(spec, web_port=spec.web_port or record.get("web_port")),
            started_at=str(record.get("started_at") or now_iso()),
            keep_desired=wanted,
        )

    def note(self, target: Target, words: str, **fields: Any) -> None:
        """Report something that needed no work."""
        shown = {key: value for key, value in fields.items() if key != "changed"}
        self._console.say(words, id=target.instance_id, **shown)
        self._results.append({"instance_id": target.instance_id, "ok": True, **fields})

    def fail(self, instance_id: str, code: int, error: str) -> None:
        """Report a failure."""
        self._codes.append(code)
        self._results.append({"instance_id": instance_id, "ok": False, "error": error})
        self._console.complain("{id}: {error}", id=instance_id, error=t(error))

    def finish(self) -> int:
        """Wait for everything, print the JSON value, and return the exit code."""
        self.flush()
        wait_all(self._undecided(), self._report)
        if self._console.as_json:
            one = len(self._results) == 1
            self._console.emit(self._results[0] if one else self._results)
        if ExitCode.USAGE in self._codes:
            return ExitCode.USAGE
        return ExitCode.FAILED if any(self._codes) else ExitCode.OK

    def refuse_config(self, name: str, faults: Sequence[str]) -> None:
        """Report a config that can't be used, with every fault."""
        self._codes.append(ExitCode.USAGE)
        self._results.append(
            {"instance_id": None, "ok": False, "config_file": name, "faults": list(faults)}
        )
        for fault in faults:
            self._console.complain("{fault}", fault=fault)

    def _wait_of(self, spec: ChildSpec) -> float:
        return spec.health.startup_timeout + _GRACE_S if self._wait_s is None else self._wait_s

    def _ask(self, spec: ChildSpec, op: str, **fields: Any) -> bool:
        """Send a command with a new spec to the living supervisor and wait for it with the rest."""
        pid = self._registry.liveness(spec.instance_id).pid
        if pid is None:
            return False
        try:
            client = connect(run_dir(self._root, spec.instance_id), pid)
            answer = client.ask(op, watch=True, spec=spec.to_json(), **fields)
        except ControlError:
            return False
        if not answer.get("ok"):
            return False
        fd, buffer = client.detach()
        stop_s = spec.health.stop_timeout
        one = Launched(
            spec=spec,
            fd=fd,
            deadline=time.monotonic() + self._wait_of(spec) + stop_s,
            last=answer,
            await_start=True,
        )
        self._launched.append(one)
        if buffer:
            one.feed(buffer)
        return True

    def _report(self, one: Launched) -> None:
        spec, last = one.spec, one.last
        self.outcomes[spec.instance_id] = one.outcome
        state = last.get("state", "STARTING" if one.outcome == "late" else "STOPPED")
        record = {"web_host": spec.web_host, "web_port": last.get("web_port")}
        url = web_url(record) if last.get("web_port") else None
        ok = one.outcome == "ready"
        entry: Message = {
            "instance_id": spec.instance_id,
            "ok": ok,
            "state": state,
            "pid": last.get("pid"),
            "bot_pid": last.get("bot_pid"),
            "web_url": url,
            "error": None if ok else one.error or one.outcome,
        }
        self._results.append(entry)
        if ok:
            words = (
                "{id}: finished (exit 0)"
                if state == "EXITED"
                else "{id}: {state}, pid {pid}, bot {bot}, {url}"
            )
            self._console.say(
                words,
                id=spec.instance_id,
                state=state,
                pid=last.get("pid"),
                bot=last.get("bot_pid"),
                url=url or "-",
            )
            return
        # Only of our own bot is it known that 2 means its config.
        is_refused = spec.is_bot and state == "FATAL" and last.get("exit_code") == ExitCode.USAGE
        is_invalid = is_refused or one.outcome == "invalid"
        self._codes.append(ExitCode.USAGE if is_invalid else ExitCode.FAILED)
        if is_refused and self._forget_refused:  # `resurrect` would only be refused again
            self._forget(spec.instance_id)
        if one.outcome != "late" and "state" not in last:  # it never came to supervising
            if one.outcome != "refused" and spec.instance_id in self._newly_wanted:
                self._forget(spec.instance_id)
            self._console.complain("{error}", error=one.error)
            return
        lines = last_words(spec, self._began)
        entry["log"] = lines
        was_stopped = last.get("want_up") is False
        self._console.complain(
            "{id}: is not ready ({state}): {error}",
            id=spec.instance_id,
            state=state,
            error=one.error or t(STOPPED_MEANWHILE if was_stopped else "it is still starting"),
        )
        self._console.quote(lines)
        if state == "FATAL":
            self._console.complain("{id}: it is not retried", id=spec.instance_id)
        elif one.outcome != "gone" and "pid" in last and not was_stopped:
            self._console.complain(
                "{id}: it stays supervised (pid {pid})", id=spec.instance_id, pid=last.get("pid")
            )

    def _forget(self, instance_id: str) -> None:
        """Note that it should not run, after all."""
        with contextlib.suppress(GridfleetError, OSError):
            Desired(self._root).remove(instance_id)


def _has_ended(pid: int) -> bool:
    """Wait for a supervisor that is ending; False when it stays."""
    me = identify(pid)
    pidfd = process.open_pidfd(me.pid, me.start) if me is not None else None
    if pidfd is None:
        return True
    try:
        return process.wait_gone([pidfd], _ENDING_S)
    finally:
        os.close(pidfd)


def started_at_of(registry: InstanceRegistry, instance_id: str) -> str:
    """Now, unless its bot lives on: the time since the user's last start then goes on counting."""
    record = registry.get(instance_id) or {}
    if registry.liveness(instance_id).bot_pid is not None and record.get("started_at"):
        return str(record["started_at"])
    return now_iso()


def now_iso() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def last_words(spec: ChildSpec, since: float) -> list[str]:
    """Take the last lines that the bot wrote since `since`: of its errors, else of its output."""
    log_dir = Path(spec.logs.log_dir)
    for name in ("bot_stderr.log", "bot_stdout.log"):
        newest = parts(log_dir, name)[-1:]
        is_fresh = any(path.stat().st_mtime >= since - 1.0 for path in newest)
        lines = tail(log_dir, name, LOG_LINES) if is_fresh else []
        if any(line.strip() for line in lines):
            return lines
    return []
