"""The verbs that bring instances up: start, restart, reload, resurrect.

Everything is checked before anything is started or stopped; all supervisors are forked before any
is waited for; a verb that finds its work done changes nothing. Standard library only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from core.batch import Batch, started_at_of
from core.config_files import DEFAULT_CONFIG, active_configs
from core.config_manager import load_specs_in_child
from core.console import Console
from core.control import Message
from core.desired import Desired, Wanted
from core.errors import ExitCode, UsageError
from core.instance_manager import InstanceRegistry
from core.launch import supervise
from core.notify import Notifier
from core.ordered_start import launch_in_order, order_faults, order_warnings
from core.reload_plan import Kind, plan_reload
from core.spec import ChildSpec
from core.targets import Target, resolve_targets


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
    batch = Batch(root, console, wait_s=args.wait, forget_refused=True)
    specs = batch.accept(load_specs_in_child(names, root, args.instance_id))
    specs = _accept_order(specs, root, batch, console)
    if batch.has_invalid and not args.all:
        return batch.finish()
    specs = [spec for spec in specs if not batch.refuse_running(spec, skip=args.all)]
    specs = [spec for spec in specs if batch.allow_live(spec, ask=not args.yes)]
    if args.foreground:
        return _foreground(specs[0], root, console) if specs else batch.finish()
    launch_in_order(batch, console, specs, stagger_s=args.stagger)
    return batch.finish()


def _accept_order(
    specs: list[ChildSpec], root: Path, batch: Batch, console: Console
) -> list[ChildSpec]:
    """Refuse those that wait for each other; tell of those that wait for nobody we know."""
    for warning in order_warnings(specs, root):
        console.complain("warning: {text}", text=warning)
    faults = order_faults(specs)
    for spec in specs:
        if spec.instance_id in faults:
            batch.refuse_config(spec.config_path, (faults[spec.instance_id],))
    return [spec for spec in specs if spec.instance_id not in faults]


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
        plan = plan_reload(target.spec(), spec)
        changed, action = list(plan.changed), plan.kind.value
        told = {"changed": changed, "action": action, "what": ", ".join(changed)}
        if plan.kind is Kind.NONE:
            batch.note(target, "{id}: nothing has changed", changed=[], action=action)
            if batch.is_running(target.instance_id) and not args.dry_run:
                batch.reload(target, spec)  # spaces alone: the new text is what is kept
        elif args.dry_run:
            batch.note(target, _WOULD[plan.kind], **told)
        elif not batch.is_running(target.instance_id):
            batch.fail(target.instance_id, ExitCode.FAILED, "it is not running; start it")
        elif plan.kind is Kind.RESTART:
            batch.restart(spec)
        elif batch.reload(target, spec):
            batch.note(target, _DONE[plan.kind], **told)
    return batch.finish()


_WOULD = {
    Kind.LIVE: "{id}: would be applied to the running bot; changed: {what}",
    Kind.ADJUST: "{id}: would move the grid of the running bot; changed: {what}",
    Kind.RESTART: "{id}: would restart the bot; changed: {what}",
}
_DONE = {
    Kind.LIVE: "{id}: applied, the bot runs on; changed: {what}",
    Kind.ADJUST: "{id}: the grid was moved, the bot runs on; changed: {what}",
}


def resurrect(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Start all that should be running and is not, as after a reboot."""
    batch = Batch(root, console, wait_s=args.wait)
    specs: list[ChildSpec] = []
    options: dict[str, dict[str, str]] = {}
    due: list[tuple[Target, Wanted]] = []
    for instance_id, wanted in sorted(Desired(root).load().items()):
        target = resolve_targets(root, [instance_id])[0]
        if batch.is_running(instance_id):
            batch.note(target, "{id}: is running already", state=target.record.get("status"))
        else:
            due.append((target, wanted))
    results = load_specs_in_child([wanted.config_path for _, wanted in due], root)
    for (target, wanted), found in zip(due, results, strict=True):
        instance_id, result = target.instance_id, found
        if result.spec is None or result.spec.instance_id != instance_id:
            # It was started with --instance-id; the file itself says another, or none.
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
            specs.append(spec)
            options[instance_id] = {"started_at": wanted.started_at}
    for words in (*order_warnings(specs, root), *order_faults(specs).values()):
        console.complain("warning: {text}", text=words)  # they run all the same, in any order
    launch_in_order(batch, console, specs, stagger_s=args.stagger, options=options)
    return batch.finish()


def _foreground(spec: ChildSpec, root: Path, console: Console) -> int:
    """Be the supervisor, attached; for systemd and containers."""
    started_at = started_at_of(InstanceRegistry(root), spec.instance_id)
    notifier = Notifier()

    def observe(message: Message) -> None:
        notifier.hear(message)
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
