"""`instance_cli alerts run|test|list`: deliver the fleet's alerts, try the channels, show both."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from core import pidfile
from core.console import Console
from core.errors import ExitCode, UsageError
from core.files import make_private_dir
from core.i18n import t
from core.identity import identify, read_pid_file

LIST_DEFAULT = 20


def add_arguments(parser: argparse.ArgumentParser, parents: list[argparse.ArgumentParser]) -> None:
    """Add the three verbs; `parents` hold --root and --json."""
    verbs = parser.add_subparsers(dest="alerts_verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(
            name, help=t(text), description=t(text), parents=parents, allow_abbrev=False
        )

    found = verb("run", "deliver the alerts of all instances, until it is stopped")
    found.add_argument("--once", action="store_true", help=t("deliver what waits, then end"))
    verb("test", "send one message through every channel")
    found = verb("list", "show the latest alerts, and how the channels stand")
    found.add_argument("-n", metavar="N", dest="count", default=LIST_DEFAULT, help=t("how many"))


def alerts(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Run one of the three. Errors: UsageError, ConfigError (exit 2), OSError."""
    match args.alerts_verb:
        case "run":
            return _run(root, console, once=args.once)
        case "test":
            return _test(root, console)
        case _:
            return _list(root, console, _count(args.count))


def _run(root: Path, console: Console, *, once: bool) -> int:
    from cli.alerting.alerter import Alerter
    from cli.alerting.state import LOCK_NAME

    channels, level = _channels(root)
    make_private_dir(root / "logs")
    path = root / "logs" / LOCK_NAME
    lock = pidfile.acquire(path)
    if lock is None:
        found = read_pid_file(path)
        console.complain("an alerter runs already (pid {pid})", pid=found[0] if found else "?")
        return ExitCode.FAILED
    try:
        me = identify(os.getpid())
        if me is not None:
            pidfile.note_holder(lock, me)
        names = ", ".join(channel.name for channel in channels)
        console.say("delivers from level {level} on through {names}", level=level, names=names)
        alerter = Alerter(root, channels, level, tell=console.say, once=once)
        ok = alerter.run()
    finally:
        os.close(lock)
    if console.as_json:
        console.emit({"ok": ok})
    return ExitCode.OK if ok or not once else ExitCode.FAILED


def _test(root: Path, console: Console) -> int:
    from cli.alerting.channels import SEND_S, Channel
    from cli.alerting.plan import trial
    from core.errors import GridfleetError
    from core.forked import run_forked

    channels, _ = _channels(root)
    message = trial(os.uname().nodename)

    def attempt(channel: Channel) -> dict[str, Any]:
        try:
            answer = run_forked(lambda: channel.send(message), "the send", SEND_S)
        except GridfleetError as error:
            answer = {"sent": False, "why": str(error)}
        return {"name": channel.name, "ok": answer["sent"], "error": answer["why"]}

    results = []
    for channel in channels:
        result = attempt(channel)
        results.append(result)
        if result["ok"]:
            console.say("{name}: sent", name=channel.name)
        else:
            console.complain("{name}: not sent: {error}", name=channel.name, error=result["error"])
    if console.as_json:
        console.emit(results)
    return ExitCode.OK if all(result["ok"] for result in results) else ExitCode.FAILED


def _channels(root: Path) -> tuple[list[Any], str]:
    from cli.alerting.channels import Channel
    from cli.alerting.settings import load_settings

    settings = load_settings(root)
    return [Channel(address) for address in settings.addresses], settings.level


def _list(root: Path, console: Console, count: int) -> int:
    """Show what is spooled; apprise is not needed for it."""
    from cli.alerting.overview import overview

    found = overview(root, count)
    if console.as_json:
        console.emit(found)
        return ExitCode.OK
    for alert in found["alerts"]:
        console.say(
            "{line}",
            line=f"{alert['time'][:19]}  {alert['level']:<8}  {alert['instance_id']}  "
            f"{alert['kind']}: {' '.join(alert['message'].split())}",
        )
    if not found["alerts"]:
        console.say("no alert is kept")
    for channel in found["channels"]:
        console.say(
            "{name}: {pending} wait; last delivered {sent}",
            name=channel["name"],
            pending=channel["pending"],
            sent=channel["last_sent"] or "-",
        )
        if channel["last_error"]:
            console.say(
                "{name}: failed {failures} times, last at {time}: {error}",
                name=channel["name"],
                failures=channel["failures"],
                time=channel["last_error_at"],
                error=channel["last_error"],
            )
    if not found["alerter"]["running"]:
        console.say("no alerter runs: nothing is delivered; start it: instance_cli alerts run")
    return ExitCode.OK


def _count(text: object) -> int:
    words = str(text)
    if not (words.isascii() and words.isdigit() and 0 < int(words[:9]) <= 100_000):
        raise UsageError(t("-n: was {value}, expected a number from 1 to 100000", value=words[:20]))
    return int(words)
