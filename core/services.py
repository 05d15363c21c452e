"""`daemon_manager install-service`: systemd units for this root, written and verified.

Two ways, and one of them is chosen by what is enabled:

- `gridfleet@ID.service`, one for each instance: systemd starts its supervisor in the foreground.
  `KillMode=process`: a stop signals the supervisor alone, which stops its bot in order; a
  supervisor that dies leaves its bot trading, and the one that systemd starts next adopts it. Exit
  2, 4 and 5 (a config, credentials, a start limit) are not retried. `Type=notify`: it counts as
  started when the bot is ready or has failed. `start_after` of the active configs becomes `After=`
  in `gridfleet@ID.service.d/start-after.conf`.
- `gridfleet.service`, one for all: `resurrect` at boot, and at shutdown a stop that leaves what is
  wanted as it is.

Beside either, `gridfleet-alerts.service` delivers the alerts of all instances (docs/alerts.md).

Both delegate their cgroup, from systemd 254 on, which puts the supervisors into a group below it
(`DelegateSubgroup=`): each bot then gets one of its own beside them, with a memory limit. An older
systemd starts a service in the delegated folder itself; once its children have controllers, that
folder takes no process, so no supervisor could be started again while its bot lives. There the
units do without, and bots have resource limits alone.

Nothing is enabled or started; what to type is printed. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from core.cgroups import SUPERVISORS
from core.config_files import active_configs
from core.config_manager import load_specs_in_child
from core.console import Console
from core.errors import ExitCode, UsageError
from core.files import publish
from core.paths import checkout_root, is_safe_name
from core.start_order import without_cycles
from core.stopping import patience_s

TEMPLATE = "gridfleet@.service"
FLEET = "gridfleet.service"
ALERTS = "gridfleet-alerts.service"
ORDER = "start-after.conf"
SUBGROUP_SINCE = 254
"""The first systemd that knows `DelegateSubgroup=` (its NEWS, version 254)."""
_MARGIN_S = 10
_MODE = 0o644  # systemd reads units as root; they hold no secret


def install_service(args: argparse.Namespace, root: Path, console: Console) -> int:
    """Write the units, verify them where systemd-analyze is there, and say what to enable."""
    folder = Path(args.dir).absolute() if args.dir else _unit_dir(user=args.user)
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        where = f"--dir: was {args.dir!r}" if args.dir else str(folder)
        raise UsageError(f"{where}, expected a folder: {nearest} is none")
    if any(ch in str(root) for ch in "\n\r\0"):
        raise UsageError(f"install-service: the root's path can't stand in a unit: {root!s}")
    stop_s = stop_timeout_s(root)
    delegates = (systemd_version() or 0) >= SUBGROUP_SINCE
    texts = {
        TEMPLATE: template_unit(root, stop_s=stop_s, user=args.user, delegates=delegates),
        FLEET: fleet_unit(root, stop_s=stop_s, user=args.user, delegates=delegates),
        ALERTS: alerts_unit(root, user=args.user),
    }
    texts |= order_units(root)
    folder.mkdir(parents=True, exist_ok=True)
    remove_old_orders(folder, texts)
    paths = []
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        publish(path, text)
        path.chmod(_MODE)
        paths.append(path)
        console.say("wrote {path}", path=str(path))
    verdict, words = verify([path for path in paths if path.name != ORDER], user=args.user)
    for line in words:
        console.complain("{text}", text=line)
    if verdict is None:
        console.say("systemd-analyze is not here or can't work: the units were not verified")
    elif verdict:
        console.say("verified by systemd-analyze")
    commands = commands_for(root, user=args.user)
    console.say("enable one of the two ways:")
    for line in commands:
        console.say("  {line}", line=line)
    if console.as_json:
        console.emit(
            {"units": [str(path) for path in paths], "verified": verdict, "enable": commands}
        )
    return int(ExitCode.FAILED if verdict is False else ExitCode.OK)


def stop_timeout_s(root: Path) -> int:
    """How long systemd must wait for a stop: longer than the slowest of our own ever takes."""
    slowest = patience_s(None)
    for result in load_specs_in_child([str(path) for path in active_configs(root)], root):
        if result.spec is not None:
            slowest = max(slowest, patience_s(result.spec))
    return int(slowest) + _MARGIN_S


def systemd_version() -> int | None:
    """Ask systemd for its version; None where it is not."""
    try:
        done = subprocess.run(
            ["systemctl", "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else None


def template_unit(root: Path, *, stop_s: int, user: bool, delegates: bool = False) -> str:
    """Give the text of the unit for one instance."""
    return f"""\
[Unit]
Description=gridfleet instance %i
Documentation=file://{_plain(checkout_root())}/README.md
Wants=network-online.target
After=network-online.target
# A supervisor that keeps dying is started again, every RestartSec, without end: its bot trades on.
StartLimitIntervalSec=0

[Service]
# It says when its bot is ready or has failed; nothing else may hurry it.
Type=notify
{_identity(root, user=user)}ExecStart={_command(root, "start", "--foreground", "--config", "%i")}
Restart=on-failure
RestartSec=5
# 2 a config, 4 credentials, 5 the start limit: the same start would fail the same way.
RestartPreventExitStatus=2 4 5
# A stop signals the supervisor alone; it stops its bot, cancels its orders and proves it.
KillMode=process
{_delegation(delegates)}TimeoutStartSec=infinity
TimeoutStopSec={stop_s}

[Install]
WantedBy={_target(user=user)}
"""


def order_units(root: Path) -> dict[str, str]:
    """Give the drop-ins that say `After=` for the active configs' `start_after`, by file name.

    A unit is named for its config's file, `start_after` names instances. Who has no active config
    is left out: systemd could not start it either.
    """
    paths = [path for path in active_configs(root) if is_safe_name(path.stem)]
    specs = {
        path.stem: result.spec
        for path, result in zip(
            paths, load_specs_in_child([str(path) for path in paths], root), strict=True
        )
        if result.spec is not None
    }
    unit_of = {spec.instance_id: f"gridfleet@{stem}.service" for stem, spec in specs.items()}
    graph, _ = without_cycles({spec.instance_id: spec.start_after for spec in specs.values()})
    found = {}
    for stem, spec in specs.items():
        named = [unit_of[one] for one in graph[spec.instance_id] if one in unit_of]
        if named:
            words = "# start_after of its config: they are ready or have failed before it starts."
            text = f"[Unit]\n{words}\nAfter={' '.join(named)}\n"
            found[f"gridfleet@{stem}.service.d/{ORDER}"] = text
    return found


def remove_old_orders(folder: Path, texts: Mapping[str, str]) -> None:
    """Remove the drop-ins of configs that name nobody any more."""
    for path in folder.glob(f"gridfleet@*.service.d/{ORDER}"):
        if str(path.relative_to(folder)) not in texts:
            path.unlink()
            with contextlib.suppress(OSError):  # the user has others there
                path.parent.rmdir()


def fleet_unit(root: Path, *, stop_s: int, user: bool, delegates: bool = False) -> str:
    """Give the text of the unit for all instances together."""
    return f"""\
[Unit]
Description=gridfleet: all that should run
Documentation=file://{_plain(checkout_root())}/README.md
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
{_identity(root, user=user)}ExecStart={_command(root, "resurrect")}
# 1: some did not become ready; they stay supervised, and the others run.
SuccessExitStatus=1
ExecStop={_command(root, "stop", "--all", "--keep-wanted")}
KillMode=process
{_delegation(delegates)}TimeoutStartSec=infinity
TimeoutStopSec={stop_s}

[Install]
WantedBy={_target(user=user)}
"""


def alerts_unit(root: Path, *, user: bool) -> str:
    """Give the text of the unit for the alerter, one for the fleet."""
    command = _command(root, "alerts", "run", program="cli/instance_cli.py")
    return f"""\
[Unit]
Description=gridfleet: delivers alerts
Documentation=file://{_plain(checkout_root())}/docs/alerts.md
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
{_identity(root, user=user)}ExecStart={command}
Restart=on-failure
RestartSec=5
# 2: no ALERT_URLS, an address that is none, or apprise is not installed.
RestartPreventExitStatus=2

[Install]
WantedBy={_target(user=user)}
"""


def commands_for(root: Path, *, user: bool) -> list[str]:
    """Say what to type to enable either way."""
    ctl = "systemctl --user" if user else "systemctl"
    names = [path.stem for path in active_configs(root)] or ["ID"]
    units = " ".join(f"gridfleet@{name}.service" for name in names)
    lines = [
        f"{ctl} daemon-reload",
        f"{ctl} enable --now {units}",
        f"{ctl} enable --now {FLEET}",
        f"{ctl} enable --now {ALERTS}  # with either, once ALERT_URLS is set",
    ]
    return [*lines, "loginctl enable-linger"] if user else lines


def verify(paths: list[Path], *, user: bool) -> tuple[bool | None, list[str]]:
    """Have systemd-analyze look at the units; None where it is not there, or can't work."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return None, []
    mode = ["--user"] if user else []
    with tempfile.TemporaryDirectory() as runtime:  # `--user` wants one, also without a session
        done = subprocess.run(
            [program, *mode, "--man=no", "verify", *map(str, paths)],
            env={"XDG_RUNTIME_DIR": runtime, **os.environ},
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    # It also speaks of units that are none of ours.
    names = {path.name for path in paths} | {"gridfleet@"}
    words = [line for line in done.stderr.splitlines() if any(name in line for name in names)]
    if done.returncode != 0 and not words:
        return None, []
    return not words, words


def _unit_dir(*, user: bool) -> Path:
    if not user:
        return Path("/etc/systemd/system")
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "systemd" / "user"


def _identity(root: Path, *, user: bool) -> str:
    lines = [f"WorkingDirectory={_plain(root)}", "UMask=0077"]
    owner = root.stat().st_uid
    if not user and owner != 0:
        lines.append(f"User={pwd.getpwuid(owner).pw_name}")
    return "".join(line + "\n" for line in lines)


def _delegation(delegates: bool) -> str:
    if not delegates:
        return ""
    words = "# Each bot gets a group of its own, beside its supervisor's, with a memory limit."
    return f"{words}\nDelegate=memory pids\nDelegateSubgroup={SUPERVISORS}\n"


def _target(*, user: bool) -> str:
    return "default.target" if user else "multi-user.target"


def _command(root: Path, *words: str, program: str = "core/daemon_manager.py") -> str:
    """Give a command line as systemd.service(5) quotes it; `%i` stays what it is."""
    script = Path(sys.executable).with_name(Path(program).stem)
    start = [str(script)]
    if not script.is_file():
        start = [sys.executable, str(checkout_root() / program)]
    fixed = [_quoted(word) for word in (*start, "--root", str(root))]
    return " ".join([*fixed, *words])


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%")
    return f'"{text}"' if any(ch in text for ch in " \t\"'\\;") else text


def _plain(path: Path) -> str:
    """Give a path for a setting that takes it whole, to the end of the line."""
    return str(path).replace("%", "%%")
