"""`daemon_manager`: the command line over supervisors (CONTRACT 3).

What lives here: the options and the exit codes. The verbs are in `core.starting`, `core.stopping`,
`core.overview`, `core.looking`, `core.validating` and `core.page_commands`, loaded when they are
used. A command that ends reports what was done; the work goes on in the supervisors that it forked.
"""

from __future__ import annotations

import sys

if __package__ in (None, ""):  # `python3 core/daemon_manager.py`: the root, not core/, is the path
    from os.path import abspath, dirname

    sys.path[0] = dirname(dirname(abspath(__file__)))  # noqa: PTH100, PTH120 - before any import

import argparse
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from core.console import Console
from core.errors import ConfigError, ExitCode, GridfleetError, UsageError
from core.paths import find_root

_VERBS: dict[str, tuple[str, str]] = {
    "start": ("core.starting", "start"),
    "stop": ("core.stopping", "stop"),
    "restart": ("core.starting", "restart"),
    "reload": ("core.starting", "reload"),
    "resurrect": ("core.starting", "resurrect"),
    "status": ("core.looking", "status"),
    "list": ("core.overview", "list_instances"),
    "logs": ("core.looking", "logs"),
    "install-service": ("core.services", "install_service"),
    "validate": ("core.validating", "validate"),
    "adjust": ("core.page_commands", "adjust"),
    "pause": ("core.page_commands", "pause"),
    "resume": ("core.page_commands", "resume"),
}

Verb = Callable[[argparse.Namespace, Path, Console], int]

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?|\.[0-9]+")


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    console = Console(as_json=getattr(args, "json", False))
    try:
        root = find_root(args.root)
        module, name = _VERBS[args.verb]
        verb: Verb = getattr(import_module(module), name)
        code = int(verb(args, root, console))
        if console.unsaid is not None:
            why = console.unsaid.strerror or console.unsaid
            console.complain("daemon_manager: standard output: {error}", error=str(why))
            return code or int(ExitCode.FAILED)
        return code
    except (ConfigError, UsageError) as error:
        return _refuse(console, error, ExitCode.USAGE)
    except (GridfleetError, OSError) as error:
        return _refuse(console, error, ExitCode.FAILED)
    except KeyboardInterrupt:
        return 130  # what a shell says for SIGINT; the supervisors go on


def build_parser() -> argparse.ArgumentParser:
    """Describe every verb and option."""
    parser = argparse.ArgumentParser(
        prog="daemon_manager",
        description="Start, stop and look after supervised grid bots, one config file each.",
        allow_abbrev=False,
    )
    parser.add_argument("--root", metavar="DIR", help="holds config/, logs/, database/, .env")
    verbs = parser.add_subparsers(
        dest="verb",
        required=True,
        metavar="VERB",
        # Else argparse works it out, and loads shutil with three compressors to do so.
        prog=parser.prog,
    )
    _add_starting(verbs)
    _add_stopping(verbs)
    _add_looking(verbs)
    _add_page(verbs)
    return parser


_Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _verb(verbs: _Verbs, name: str, words: str) -> argparse.ArgumentParser:
    made = verbs.add_parser(name, help=words, description=words, allow_abbrev=False)
    made.add_argument("--root", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return made


def _add_config(parser: argparse.ArgumentParser, *, ids: bool) -> None:
    parser.add_argument(
        "--config",
        "-c",
        action="append",
        default=[],
        metavar="FILE",
        help="a path, or a name in config/active (default: config/daemon_config.json)",
    )
    parser.add_argument("--instance-id", metavar="ID", help="instead of the config's own id")
    if ids:
        parser.add_argument("ids", nargs="*", metavar="ID", help="instance ids")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="how long to wait for readiness (default: the config's startup_timeout)",
    )


def _add_stagger(parser: argparse.ArgumentParser, default: float) -> None:
    parser.add_argument(
        "--stagger",
        type=_seconds,
        default=default,
        metavar="SECONDS",
        help=f"about this long between two starts (default {default:g})",
    )


def _add_starting(verbs: _Verbs) -> None:
    start = _verb(verbs, "start", "start one supervisor per config file, and its bot")
    _add_config(start, ids=False)
    start.add_argument("--all", action="store_true", help="every config/active/*.json")
    how = start.add_mutually_exclusive_group()
    how.add_argument("--daemon", "-d", action="store_true", help="into the background (default)")
    how.add_argument("--foreground", action="store_true", help="stay attached to this terminal")
    _add_stagger(start, 0.0)
    start.add_argument("--yes", "-y", action="store_true", help="do not ask before a live start")
    _add_wait(start)
    _add_json(start)

    restart = _verb(verbs, "restart", "check the config, then replace the bot")
    _add_config(restart, ids=True)
    restart.add_argument("--all", action="store_true", help="every registered instance")
    restart.add_argument(
        "--supervisor-only", action="store_true", help="replace the supervisor, keep the bot"
    )
    _add_wait(restart)
    _add_json(restart)

    reload = _verb(verbs, "reload", "read the config again and apply what changed")
    _add_config(reload, ids=True)
    reload.add_argument("--dry-run", action="store_true", help="only say what would happen")
    _add_wait(reload)
    _add_json(reload)

    resurrect = _verb(verbs, "resurrect", "start all that should be running, as after a reboot")
    _add_stagger(resurrect, 0.5)
    _add_wait(resurrect)
    _add_json(resurrect)

    service = _verb(
        verbs, "install-service", "write systemd units, verify them, say what to enable"
    )
    service.add_argument("--user", action="store_true", help="for this user's own systemd")
    service.add_argument("--dir", metavar="DIR", help="where (default: systemd's own folder)")
    _add_json(service)


def _add_stopping(verbs: _Verbs) -> None:
    stop = _verb(verbs, "stop", "stop the bot, cancel its orders, end the supervisor")
    _add_config(stop, ids=True)
    stop.add_argument("--all", action="store_true", help="every registered instance")
    orders = stop.add_mutually_exclusive_group()
    orders.add_argument("--close-positions", action="store_true", help="close the position too")
    orders.add_argument("--keep-orders", action="store_true", help="leave the orders resting")
    stop.add_argument(
        "--keep-wanted", action="store_true", help="`resurrect` brings them back, as after a signal"
    )
    _add_json(stop)


def _add_looking(verbs: _Verbs) -> None:
    status = _verb(verbs, "status", "show where instances stand")
    _add_config(status, ids=True)
    _add_json(status)

    listed = _verb(verbs, "list", "list the instances")
    listed.add_argument("--all", action="store_true", help="stopped and exited ones too")
    _add_json(listed)

    logs = _verb(verbs, "logs", "show the last lines of a log")
    logs.add_argument("id", metavar="ID")
    logs.add_argument("--stream", choices=("daemon", "stdout", "stderr"), default="stdout")
    logs.add_argument("-n", "--lines", type=_count, default=20, metavar="N")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with every new line")

    validate = _verb(verbs, "validate", "make every check of a start, start nothing")
    _add_config(validate, ids=False)
    _add_json(validate)


def _add_page(verbs: _Verbs) -> None:
    adjust = _verb(verbs, "adjust", "move the grid of a running bot")
    adjust.add_argument("id", metavar="ID")
    adjust.add_argument("--lower", type=_price, metavar="P")
    adjust.add_argument("--upper", type=_price, metavar="P")
    adjust.add_argument("--grid-num", type=_count, metavar="N")
    adjust.add_argument(
        "--lots",
        choices=("carry", "redistribute", "close"),
        help="what becomes of lots that find no cell (carry)",
    )
    adjust.add_argument("--dry-run", action="store_true", help="only say what would happen")
    adjust.add_argument("--yes", "-y", action="store_true", help="do not ask")
    _add_json(adjust)
    for name, words in (
        ("pause", "stop new entries; exits stay"),
        ("resume", "let entries go on"),
    ):
        verb = _verb(verbs, name, words)
        verb.add_argument("ids", nargs="*", metavar="ID")
        verb.add_argument("--all", action="store_true", help="every registered instance")
        _add_json(verb)


def _seconds(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"was {text!r}, expected seconds, e.g. 30")
    return float(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"was {text!r}, expected a whole number")
    return int(text)


def _price(text: str) -> str:
    """Keep the text: the bot makes a Decimal of it."""
    if _NUMBER.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"was {text!r}, expected a price, e.g. 140.5")
    return text


def _refuse(console: Console, error: Exception, code: int) -> int:
    console.complain("daemon_manager: {error}", error=str(error))
    if console.as_json:
        console.emit({"ok": False, "error": str(error)})
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
