"""`instance_cli`: look at the instances from outside; each verb of it, and its options.

Nothing here starts, stops or signals an instance (that is `daemon_manager`), and nothing asks a
supervisor: the answers come from state files, processes and the instances' own pages. Each verb
loads only what it needs, because `list` is what people type all day.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: the root takes the place of this folder
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - before any import of ours

from core.console import Console
from core.errors import ConfigError, ExitCode, GridfleetError, UsageError
from core.i18n import t
from core.paths import find_root

WATCH_PERIOD_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code of CONTRACT 3: 0 done, 1 failed, 2 usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
    except SystemExit as end:  # argparse has printed its message
        return int(end.code or 0)
    console = Console(as_json=getattr(args, "json", False))
    try:
        root = find_root(args.root)
        code = int(_VERBS[args.verb](args, root, console))
        if console.unsaid is not None:
            why = console.unsaid.strerror or console.unsaid
            console.complain("instance_cli: standard output: {error}", error=str(why))
            return code or int(ExitCode.FAILED)
        return code
    except (UsageError, ConfigError) as error:
        console.complain("error: {error}", error=str(error))
        return ExitCode.USAGE
    except (GridfleetError, OSError) as error:
        console.complain("error: {error}", error=str(error))
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return 128 + 2  # as a shell reports SIGINT


def _list(args: argparse.Namespace, root: Path, console: Console) -> int:
    from core.listing import collect

    if args.watch and args.json:
        raise UsageError(t("--watch repeats a table; --json is one value: choose one"))
    if args.json:
        console.emit(collect(root, args.all))
        return ExitCode.OK
    try:
        while True:
            if args.watch and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            _print_list(root, args.all, console)
            if not args.watch or not console.is_heard:
                return ExitCode.OK
            time.sleep(WATCH_PERIOD_S)
    except KeyboardInterrupt:  # the usual end of a watch
        return ExitCode.OK


def _print_list(root: Path, include_all: bool, console: Console) -> None:
    from core.listing import collect, is_shown, render_table

    entries = collect(root, include_all=True)
    shown = [entry for entry in entries if include_all or is_shown(entry)]
    if shown:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        plain = not _can_encode("●○")
        console.say(
            "{table}", table=render_table(shown, root, coloured=coloured and not plain, plain=plain)
        )
    else:
        console.say("no instance runs; start one: daemon_manager start --config FILE")
    hidden = [entry for entry in entries if entry not in shown]
    if hidden:
        console.say("{count} more have ended: list --all shows them", count=len(hidden))
    for entry in hidden:
        if entry["orders_unsettled"]:
            console.say("{id}: {hint}", id=entry["instance_id"], hint=entry["hint"])


def _can_encode(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _cleanup(args: argparse.Namespace, root: Path, console: Console) -> int:
    from core.desired import Desired
    from core.instance_manager import InstanceRegistry, orders_may_rest

    registry = InstanceRegistry(root)
    with registry.locked():
        keep = set(Desired(root).load())  # what `resurrect` needs; damaged: nothing is removed
        every = registry.dead_instances()
        records = registry.load()
        unsettled = [name for name in every if orders_may_rest(records[name])]
        dead = [name for name in every if name not in keep and name not in unsettled]
        kept = [name for name in every if name in keep]
        count = len(dead) if args.dry_run else registry.cleanup_dead_instances(keep)
    if args.json:
        told = {"removed": count, "instances": dead, "kept": kept, "unsettled": unsettled}
        console.emit({**told, "dry_run": args.dry_run})
        return ExitCode.OK
    text = (
        "would remove {count} dead instances{names}"
        if args.dry_run
        else ("removed {count} dead instances{names}")
    )
    console.say(text, count=count, names=": " + ", ".join(dead) if dead else "")
    if kept:
        console.say("kept for `daemon_manager resurrect`: {names}", names=", ".join(kept))
    for name in unsettled:
        words = "kept: orders of {id} may rest on the exchange; settle them: {command}"
        console.say(words, id=name, command=f"daemon_manager stop {name}")
    return ExitCode.OK


def _info(args: argparse.Namespace, root: Path, console: Console) -> int:
    from cli.instance_info import info

    return info(args.id, root, console)


def _doctor(args: argparse.Namespace, root: Path, console: Console) -> int:
    from cli.doctor import doctor

    return doctor(root, console, dry_run=args.dry_run)


def _stats(args: argparse.Namespace, root: Path, console: Console) -> int:
    from cli.instance_stats import stats

    return stats(args.id, root, console)


def _audit(args: argparse.Namespace, root: Path, console: Console) -> int:
    from cli.audit import audit

    return audit(args.id, root, console)


def _backtest(args: argparse.Namespace, root: Path, console: Console) -> int:
    del console  # it prints its report itself
    from cli.backtest import run

    return run(args, root)


def _candles(args: argparse.Namespace, root: Path, console: Console) -> int:
    from cli.candles import run

    return run(args, root, console)


def _alerts(args: argparse.Namespace, root: Path, console: Console) -> int:
    from cli.alerts import alerts

    return alerts(args, root, console)


_VERBS = {
    "list": _list,
    "cleanup": _cleanup,
    "doctor": _doctor,
    "info": _info,
    "stats": _stats,
    "audit": _audit,
    "backtest": _backtest,
    "candles": _candles,
    "alerts": _alerts,
}


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="instance_cli",
        description=t("Look at the instances; daemon_manager starts and stops them."),
        allow_abbrev=False,
    )
    parser.add_argument("--root", metavar="DIR", help=t("where config/, logs/ and database/ are"))
    # The same option after the verb; SUPPRESS, so that its absence there overwrites nothing.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument(
        "--json", action="store_true", help=t("print one JSON value, messages beside it")
    )
    verbs = parser.add_subparsers(
        dest="verb",
        required=True,
        metavar="VERB",
        # Else argparse works it out, and loads shutil with three compressors to do so.
        prog=parser.prog,
    )

    def verb(name: str, text: str, *, has_json: bool = True) -> argparse.ArgumentParser:
        parents = [common, as_json] if has_json else [common]
        return verbs.add_parser(
            name, help=t(text), description=t(text), parents=parents, allow_abbrev=False
        )

    found = verb("list", "show what runs, and what gave up")
    found.add_argument("--all", action="store_true", help=t("also what has ended"))
    found.add_argument("--watch", action="store_true", help=t("again every second"))
    found = verb("cleanup", "remove the records of dead instances")
    found.add_argument("--dry-run", action="store_true", help=t("only say what would be removed"))
    found = verb("doctor", "clean what is stale, and say why it is")
    found.add_argument("--dry-run", action="store_true", help=t("only say what would be done"))
    found = verb("info", "show all that is known of one instance")
    found.add_argument("id", metavar="ID")
    found = verb("stats", "show trading figures and what the processes use")
    found.add_argument("id", metavar="ID", nargs="?")
    found = verb(
        "audit", "compare the ledger with the exchange: 0 equal, 1 different, 3 not compared"
    )
    found.add_argument("id", metavar="ID")
    found = verb("backtest", "run the engine over a CSV of candles", has_json=False)
    if "backtest" in arguments:  # its options come with the trading code, which `list` never loads
        from cli.backtest import add_arguments

        add_arguments(found)
    found = verb("candles", "fetch an exchange's candles into a CSV for backtests")
    if "candles" in arguments:
        from cli.candles import add_arguments as add_candle_arguments

        add_candle_arguments(found)
    found = verb(
        "alerts", "deliver alerts by DingTalk, e-mail, Telegram; show them", has_json=False
    )
    if "alerts" in arguments:
        from cli.alerts import add_arguments as add_alert_arguments

        add_alert_arguments(found, [common, as_json])
    return parser


if __name__ == "__main__":
    sys.exit(main())
