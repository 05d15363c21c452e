"""The verbs that bring instances up: start, restart, reload, resurrect.

Everything is checked before anything is started or stopped; all supervisors are forked before any
is waited for; a verb that finds its work done changes nothing. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from core.config_files import DEFAULT_CONFIG, active_configs
from core.config_manager import SpecResult, load_specs_in_child
from core.console import Console
from core.control import ControlClient, ControlError, Message
from core.desired import Desired
from core.errors import ExitCode, UsageError
from core.instance_manager import InstanceRegistry
from core.launch import Launched, launch, supervise, wait_all
from core.log_files import parts, tail
from core.looking import claim_faults
from core.paths import run_dir
from core.preflight import allow_live
from core.registry_file import web_url
from core.spec import ChildSpec
from core.supervision_types import Restart
from core.targets import Target, resolve_targets

LOG_LINES = 10
# The supervisor's own verdict at `startup_timeout` comes first; this much later we would ask why.
_GRACE_S = 2.0


def start(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Start configs in the background, or one attached to this terminal."""
    if args.all and args.config:
        raise UsageError("start: --all goes without --config")
    names: list[str] = (
        [str(path) for path in active_configs(root)]
        if args.all
        else args.config or [str(DEFAULT_CONFIG)]
    )
    if args.instance_id is not None and len(names) != 1:
        raise UsageError("start: --instance-id names one instance; give one --config with it")
    if args.foreground and len(names) != 1:
        raise UsageError("start: --foreground supervises one config; give one --config with it")
    if not names:
        console.say("no config in config/active is to be started")
    batch = Batch(root, console, wait_s=args.wait)
    specs = batch.accept(load_specs_in_child(names, root, args.instance_id))
    if batch.has_invalid and not args.all:
        return batch.finish()
    specs = [spec for spec in specs if not batch.refuse_running(spec, skip=args.all)]
    specs = [spec for spec in specs if batch.allow_live(spec, ask=not args.yes)]
    if args.foreground:
        return _foreground(specs[0], root, console) if specs else batch.finish()
    for spec in specs:
        batch.launch(spec)
    return batch.finish()


def restart(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Check first, then replace the bots (or, `--supervisor-only`, the supervisors alone)."""
    targets = resolve_targets(
        root,
        args.ids,
        args.config,
        instance_id=args.instance_id,
        all_registered=args.all,
    )
    batch = Batch(root, console, wait_s=args.wait)
    if args.supervisor_only:
        for target in targets:
            batch.replace_supervisor(target)
        return batch.finish()
    specs = _specs_of(targets, root, batch)
    if batch.has_invalid:
        return batch.finish()
    for _, spec in specs:
        batch.restart(spec)
    return batch.finish()


def reload(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Read the files again and apply what changed; a bad file changes nothing."""
    targets = resolve_targets(root, args.ids, args.config, instance_id=args.instance_id)
    batch = Batch(root, console, wait_s=args.wait)
    specs = _specs_of(targets, root, batch)
    if batch.has_invalid:
        return batch.finish()
    for target, spec in specs:
        changed = changed_fields(target.spec(), spec)
        if not changed:
            batch.note(target, "{id}: nothing has changed", changed=[])
        elif args.dry_run:
            words = "{id}: would restart the bot; changed: {what}"
            batch.note(target, words, changed=changed, what=", ".join(changed))
        elif not batch.is_running(target.instance_id):
            batch.fail(target.instance_id, ExitCode.FAILED, "it is not running; start it")
        else:
            batch.restart(spec)
    return batch.finish()


def resurrect(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Start all that should be running and is not, as after a reboot."""
    batch = Batch(root, console, wait_s=args.wait)
    for instance_id, wanted in sorted(Desired(root).load().items()):
        target = resolve_targets(root, [instance_id])[0]
        if batch.is_running(instance_id):
            batch.note(target, "{id}: is running already", state=target.record.get("status"))
            continue
        result = load_specs_in_child([wanted.config_path], root, instance_id)[0]
        spec = result.spec
        if spec is None:
            # A bad save never reaches a restart: the last accepted version runs on.
            spec = target.spec()
            for fault in result.faults:
                console.complain("{fault}", fault=fault)
        if spec is None:
            batch.fail(instance_id, ExitCode.USAGE, "its config can't be used")
        else:
            batch.launch(spec, started_at=wanted.started_at)
    return batch.finish()


class Batch:
    """One verb's work on several instances: launched together, waited for together."""

    def __init__(self, root: Path, console: Console, *, wait_s: float | None) -> None:
        self._root = root
        self._console = console
        self._wait_s = wait_s
        self._registry = InstanceRegistry(root)
        self._launched: list[Launched] = []
        self._results: list[Message] = []
        self._codes: list[int] = []
        self._began = time.time()

    @property
    def has_invalid(self) -> bool:
        return ExitCode.USAGE in self._codes

    def accept(self, results: Sequence[SpecResult]) -> list[ChildSpec]:
        """Keep what is valid and report the rest, two configs of one id included."""
        kept: dict[str, ChildSpec] = {}
        for result in results:
            if result.spec is None:
                self._refuse_config(result.name, result.faults)
                continue
            spec = result.spec
            for warning in spec.warnings:
                self._console.complain("warning: {text}", text=warning)
            twin = kept.get(spec.instance_id)
            if twin is not None:
                words = f"instance id {spec.instance_id} is also {twin.config_path}'s"
                self._refuse_config(spec.config_path, (f"{spec.config_path}: {words}",))
                continue
            kept[spec.instance_id] = spec
        return list(kept.values())

    def is_running(self, instance_id: str) -> bool:
        """Whether a supervisor of it lives."""
        return self._registry.liveness(instance_id).pid is not None

    def refuse_running(self, spec: ChildSpec, *, skip: bool) -> bool:
        """Report an instance whose supervisor lives; True when there is nothing to start.

        A supervisor that has given up and waits for its slow retry is told to start now.
        """
        alive = self._registry.liveness(spec.instance_id)
        if alive.pid is None:
            return False
        record = self._registry.get(spec.instance_id) or {}
        if record.get("status") == "FATAL" and self._ask(spec, "start", started_at=now_iso()):
            return True
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
        """Fork a supervisor; a live bot whose supervisor died keeps its start time."""
        if started_at is None:
            started_at = started_at_of(self._registry, spec.instance_id)
        wait_s = self._wait_of(spec)
        await_start = options.pop("await_start", False)
        one = launch(spec, started_at=started_at, wait_s=wait_s, **options)
        one.await_start = await_start
        self._launched.append(one)

    def restart(self, spec: ChildSpec) -> None:
        """Replace the bot, by its supervisor where that lives."""
        clashes = claim_faults(self._registry, spec)
        if clashes:
            self._refuse_config(spec.config_path, clashes)
            return
        if self.is_running(spec.instance_id):
            if not self._ask(spec, "restart"):
                self.fail(spec.instance_id, ExitCode.FAILED, "its supervisor does not answer")
            return
        orphan = self._registry.liveness(spec.instance_id).bot_pid is not None
        self.launch(spec, first=Restart(), await_start=orphan)

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
                with ControlClient(target.folder) as client:
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
        self._console.complain("{id}: {error}", id=instance_id, error=error)

    def finish(self) -> int:
        """Wait for everything, print the JSON value, and return the exit code."""
        wait_all(self._launched, self._report)
        if self._console.as_json:
            one = len(self._results) == 1
            self._console.emit(self._results[0] if one else self._results)
        if ExitCode.USAGE in self._codes:
            return ExitCode.USAGE
        return ExitCode.FAILED if any(self._codes) else ExitCode.OK

    def _refuse_config(self, name: str, faults: Sequence[str]) -> None:
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
        try:
            client = ControlClient(run_dir(self._root, spec.instance_id))
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
        state = last.get("state", "STOPPED")
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
        self._codes.append(ExitCode.USAGE if one.outcome == "invalid" else ExitCode.FAILED)
        if one.outcome in ("invalid", "refused"):
            self._console.complain("{error}", error=one.error)
            return
        lines = last_words(spec, self._began)
        entry["log"] = lines
        self._console.complain(
            "{id}: is not ready ({state}): {error}",
            id=spec.instance_id,
            state=state,
            error=one.error or "it is still starting",
        )
        self._console.quote(lines)
        if state == "FATAL":
            self._console.complain("{id}: it is not retried", id=spec.instance_id)
        elif one.outcome != "gone":
            self._console.complain(
                "{id}: it stays supervised (pid {pid})", id=spec.instance_id, pid=last.get("pid")
            )


def _foreground(spec: ChildSpec, root: Path, console: Console) -> int:
    """Be the supervisor, attached; for systemd and containers."""
    started_at = started_at_of(InstanceRegistry(root), spec.instance_id)

    def observe(message: Message) -> None:
        console.say(
            "{id}: {state}, bot {bot}, port {port} {reason}",
            id=message["instance_id"],
            state=message["state"],
            bot=message["bot_pid"],
            port=message["web_port"],
            reason=message["reason"],
        )

    os.umask(0o077)
    os.chdir(root)
    return supervise(
        spec,
        started_at=started_at,
        first=None,
        to_stop=False,
        keep_desired=False,
        observe=observe,
    )


def _specs_of(
    targets: Sequence[Target], root: Path, batch: Batch
) -> list[tuple[Target, ChildSpec]]:
    """Check every target's file under the target's id; faults go to the batch."""
    known = []
    for target in targets:
        if target.config_file is None:
            batch.fail(target.instance_id, ExitCode.FAILED, "unknown instance")
        else:
            known.append(target)
    results = load_specs_in_child([str(target.config_file) for target in known], root)
    pairs = []
    for target, found in zip(known, results, strict=True):
        result = found
        if result.spec is not None and result.spec.instance_id != target.instance_id:
            # It was started with --instance-id; the file itself says another.
            result = load_specs_in_child([found.name], root, target.instance_id)[0]
        for spec in batch.accept([result]):
            pairs.append((target, spec))
    return pairs


def changed_fields(before: ChildSpec | None, after: ChildSpec) -> list[str]:
    """Name what differs between two specs; a chosen port and mere formatting are no difference."""
    if before is None:
        return ["everything"]
    ignored = ("warnings", "config_text", "web_port")
    names = [
        name
        for name in ChildSpec.__slots__
        if name not in ignored and getattr(before, name) != getattr(after, name)
    ]
    if after.web_port is not None and before.web_port != after.web_port:
        names.append("web_port")
    if not names and before.config_text != after.config_text:
        names.append("config")
    return names


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
