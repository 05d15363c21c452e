"""The field: our supervisor beside supervisord, circus, pm2, s6, runit and a floor.

    .venv/bin/python benchmarks/supervisors.py [--runs 20] [--children 50] [--idle 30] [--only NAME]

A child is a shell script that tells over a FIFO that it runs, and sleeps. supervisord and circus
come from PyPI and pm2 from npm into `.venv-peers`, made on the first run; s6 and runit take part
where `s6-svscan` and `runsvdir` are on the PATH (Debian: packages s6, runit), pm2 where npm is. The
floor is `floor_fleet.py`: a supervisor for each child, forked from one process, that does nothing
but start, wait and start again. Each is measured in turn, under a stand-in for init that reaps at
once (some machines' init takes a second, and whoever waits for the end waits for it): the start of
all children (from the command to the last child's word), the supervisors' memory (PSS), their CPU
over idle seconds, the list, SIGKILL of a child to the first word of its successor, and the stop of
all. circus polls its children; its `check_delay` is 0.1 s here, which buys its restarts with idle
CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rig import CHECKOUT, DEADLINE_S, HERE, cpu_s, environment, memory_mb, until

PEERS = CHECKOUT / ".venv-peers"
CHILD = """#!/bin/sh
echo "$1 $$" > "{fifo}"
exec sleep 86400
"""
_KILL_PAUSE_S = 0.2  # between two kills, so that nobody is measured in the shadow of the last one


class Children:
    """The FIFO over which the children tell that they run."""

    def __init__(self, folder: Path) -> None:
        self.fifo = folder / "children.fifo"
        os.mkfifo(self.fifo)
        self.script = folder / "child.sh"
        self.script.write_text(CHILD.format(fifo=self.fifo))
        self.script.chmod(0o755)
        self._fd = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self.pids: dict[str, int] = {}

    def next(self, deadline_s: float = DEADLINE_S) -> tuple[str, int] | None:
        """Wait for the next word: name and PID; None when nobody speaks."""
        end = time.monotonic() + deadline_s
        while b"\n" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                return None
            self._rest += os.read(self._fd, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        name, pid = line.decode().split()
        self.pids[name] = int(pid)
        return name, int(pid)

    def wait_all(self, names: list[str]) -> None:
        missing = set(names)
        while missing:
            told = self.next()
            if told is None:
                raise SystemExit(f"never came up: {sorted(missing)[:5]} ...")
            missing.discard(told[0])

    def alive(self) -> int:
        return sum(_is_alive(pid) for pid in self.pids.values())

    def close(self) -> None:
        os.close(self._fd)
        for pid in self.pids.values():
            if _is_alive(pid) and b"86400" in Path(f"/proc/{pid}/cmdline").read_bytes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(slots=True)
class Peer:
    """One supervisor: commands as a user types them. `pids`: its processes, not the children."""

    name: str
    start: Callable[[], object]
    pids: Callable[[], list[int]]
    list_all: Callable[[], object]
    stop: Callable[[], object]
    stopped: Callable[[], bool]
    note: str = ""


@dataclass(slots=True)
class Figures:
    """What one run of one peer gave."""

    kill_ms: list[float] = field(default_factory=list)
    up_ms: float = 0.0
    pss_mb: float = 0.0
    idle_cpu_s: float = 0.0
    list_ms: list[float] = field(default_factory=list)
    stop_ms: float = 0.0


def run_peer(peer: Peer, children: Children, names: list[str], args: argparse.Namespace) -> Figures:
    figures = Figures()
    began = time.perf_counter()
    peer.start()
    children.wait_all(names)
    figures.up_ms = (time.perf_counter() - began) * 1000
    time.sleep(2.0)  # readiness, first clean-ups
    figures.pss_mb = sum(memory_mb(pid)[1] for pid in peer.pids())
    before = sum(cpu_s(pid) for pid in peer.pids())
    time.sleep(args.idle)
    figures.idle_cpu_s = sum(cpu_s(pid) for pid in peer.pids()) - before
    for _ in range(5):
        began = time.perf_counter()
        peer.list_all()
        figures.list_ms.append((time.perf_counter() - began) * 1000)
    for number in range(args.runs):
        name = names[number % len(names)]
        time.sleep(_KILL_PAUSE_S)
        began = time.perf_counter()
        os.kill(children.pids[name], signal.SIGKILL)
        told = children.next()
        figures.kill_ms.append((time.perf_counter() - began) * 1000)
        if told is None or told[0] != name:
            raise SystemExit(f"{peer.name}: {name} did not come back")
    began = time.perf_counter()
    peer.stop()
    until(f"{peer.name} has stopped", lambda: peer.stopped() and children.alive() == 0)
    figures.stop_ms = (time.perf_counter() - began) * 1000
    return figures


# The peers ------------------------------------------------------------------------------------


def call(*words: str | Path, check: bool = True, **env: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=180,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if check and done.returncode != 0:
        raise SystemExit(f"{words[0]}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


@contextlib.contextmanager
def ours(folder: Path, children: Children, names: list[str]) -> Iterator[Peer]:
    active = folder / "config" / "active"
    active.mkdir(parents=True)
    for name in names:
        daemon = {
            "script_path": str(children.script),
            "bot_args": [name],
            "health_check": "none",
            "restart_delay": 0,
            "max_restart_attempts": 100_000,
        }
        (active / f"{name}.json").write_text(json.dumps({"daemon_config": daemon}))
    manager = Path(sys.executable).with_name("daemon_manager")

    def pids() -> list[int]:
        return [int(path.read_text()) for path in folder.glob("logs/*/daemon.pid")]

    try:
        yield Peer(
            "gridfleet",
            start=lambda: call(manager, "--root", folder, "start", "--all"),
            pids=pids,
            list_all=lambda: call(manager, "--root", folder, "list"),
            stop=lambda: call(manager, "--root", folder, "stop", "--all"),
            stopped=lambda: not pids(),
        )
    finally:
        call(manager, "--root", folder, "stop", "--all", check=False)


@contextlib.contextmanager
def daemon(words: list[str | Path], folder: Path, **env: str) -> Iterator[Callable[[], int]]:
    """Hold a program that is started by the first call, and end it by its PID whatever happens."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        started.append(
            subprocess.Popen(
                [str(word) for word in words],
                env=environment(**env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return started[0].pid

    try:
        yield start
    finally:
        for one in started:
            if one.poll() is None:
                one.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.wait(20)
            if one.poll() is None:
                one.kill()
            one.wait()


@contextlib.contextmanager
def one_daemon(
    name: str,
    words: list[str | Path],
    folder: Path,
    *,
    list_all: Callable[[], object],
    stop: Callable[[], object] | None = None,
    descends: bool = False,
) -> Iterator[Peer]:
    """A peer that is one process, or (`descends`) a tree of them above the children."""
    with daemon(words, folder) as start:
        pid: list[int] = []

        def begin() -> None:
            pid.append(start())

        def pids() -> list[int]:
            return [p for p in _tree(pid[0]) if _is_supervisor(p)] if descends else pid[:1]

        yield Peer(
            name,
            start=begin,
            pids=pids,
            list_all=list_all,
            stop=stop or (lambda: os.kill(pid[0], signal.SIGTERM)),
            stopped=lambda: os.waitpid(pid[0], os.WNOHANG)[0] != 0 if _is_alive(pid[0]) else True,
        )


def _tree(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{one}/task/{one}/children").read_text().split()
            found += [int(word) for word in words]
    return found


def _is_supervisor(pid: int) -> bool:
    try:
        return b"86400" not in Path(f"/proc/{pid}/cmdline").read_bytes() and _is_alive(pid)
    except OSError:
        return False


@contextlib.contextmanager
def supervisord(folder: Path, children: Children, names: list[str]) -> Iterator[Peer]:
    programs = "".join(
        f"[program:{name}]\ncommand={children.script} {name}\nstartsecs=0\nautorestart=true\n"
        f"stdout_logfile={folder}/{name}.out\nstderr_logfile={folder}/{name}.err\n\n"
        for name in names
    )
    conf = folder / "supervisord.conf"
    conf.write_text(
        f"[unix_http_server]\nfile={folder}/s.sock\n\n"
        f"[supervisord]\nnodaemon=true\nlogfile={folder}/s.log\npidfile={folder}/s.pid\n\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\n"
        f"[supervisorctl]\nserverurl=unix://{folder}/s.sock\n\n{programs}"
    )
    control = PEERS / "bin" / "supervisorctl"
    with one_daemon(
        "supervisord",
        [PEERS / "bin" / "supervisord", "-c", conf],
        folder,
        list_all=lambda: call(control, "-c", conf, "status"),
        stop=lambda: call(control, "-c", conf, "shutdown"),
    ) as peer:
        yield peer


@contextlib.contextmanager
def circus(folder: Path, children: Children, names: list[str]) -> Iterator[Peer]:
    watchers = "".join(
        f"[watcher:{name}]\ncmd={children.script} {name}\nstdout_stream.class=FileStream\n"
        f"stdout_stream.filename={folder}/{name}.out\nmax_retry=-1\n\n"
        for name in names
    )
    conf, end = folder / "circus.ini", f"ipc://{folder}/c.end"
    conf.write_text(
        f"[circus]\nendpoint={end}\npubsub_endpoint=ipc://{folder}/c.pub\ncheck_delay=0.1\n"
        f"statsd=false\nwarmup_delay=0\n\n{watchers}"
    )
    control = PEERS / "bin" / "circusctl"
    with one_daemon(
        "circus",
        [PEERS / "bin" / "circusd", conf],
        folder,
        list_all=lambda: call(control, "--endpoint", end, "status"),
        stop=lambda: call(control, "--endpoint", end, "quit"),
    ) as peer:
        yield peer


@contextlib.contextmanager
def s6(folder: Path, children: Children, names: list[str]) -> Iterator[Peer]:
    _service_dirs(folder / "scan", children, names)
    with one_daemon(
        "s6",
        ["s6-svscan", folder / "scan"],
        folder,
        list_all=lambda: [call("s6-svstat", folder / "scan" / name) for name in names],
        descends=True,
    ) as peer:
        yield peer


@contextlib.contextmanager
def runit(folder: Path, children: Children, names: list[str]) -> Iterator[Peer]:
    _service_dirs(folder / "scan", children, names)
    scan = folder / "scan"
    with one_daemon(
        "runit",
        ["runsvdir", scan],
        folder,
        list_all=lambda: call("sv", "status", *(scan / name for name in names)),
        descends=True,
    ) as peer:
        stop = peer.stop

        def exit_all() -> None:
            call("sv", "exit", *(scan / name for name in names), check=False)
            stop()

        peer.stop = exit_all
        yield peer


def _service_dirs(scan: Path, children: Children, names: list[str]) -> None:
    for name in names:
        (scan / name).mkdir(parents=True)
        run = scan / name / "run"
        run.write_text(f'#!/bin/sh\nexec "{children.script}" {name}\n')
        run.chmod(0o755)


@contextlib.contextmanager
def floor(folder: Path, children: Children, names: list[str]) -> Iterator[Peer]:
    with one_daemon(
        "floor",
        [sys.executable, HERE / "floor_fleet.py", children.script, *names],
        folder,
        list_all=lambda: call(sys.executable, "-c", "pass"),
        descends=True,
    ) as peer:
        yield peer


@contextlib.contextmanager
def pm2(folder: Path, children: Children, names: list[str]) -> Iterator[Peer]:
    home = {"PM2_HOME": str(folder / "pm2"), "HOME": str(folder)}
    program = PEERS / "node_modules" / ".bin" / "pm2"
    apps = [
        {"name": name, "script": str(children.script), "args": name, "interpreter": "none"}
        for name in names
    ]
    (folder / "fleet.config.json").write_text(json.dumps({"apps": apps}))

    def pids() -> list[int]:
        return [int((folder / "pm2" / "pm2.pid").read_text())]

    def run(*words: str | Path, check: bool = True) -> str:
        return call(program, *words, check=check, **home)

    try:
        yield Peer(
            "pm2",
            start=lambda: run("start", folder / "fleet.config.json"),
            pids=pids,
            list_all=lambda: run("ls"),
            stop=lambda: run("kill"),
            stopped=lambda: not (folder / "pm2" / "pm2.pid").exists() or not _is_alive(*pids()),
        )
    finally:
        run("kill", check=False)


def make_pm2() -> None:
    """Install pm2 beside the peers of PyPI."""
    if not (PEERS / "node_modules" / ".bin" / "pm2").exists():
        PEERS.mkdir(exist_ok=True)
        call("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", PEERS, "pm2")


def make_peers() -> None:
    """Install the peers of PyPI into an environment of their own."""
    if (PEERS / "bin" / "supervisord").exists() and (PEERS / "bin" / "circusd").exists():
        return
    call(sys.executable, "-m", "venv", PEERS)
    call(
        PEERS / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "setuptools<81",
        "supervisor",
        "circus",
    )


FIELD = {
    "floor": floor,
    "gridfleet": ours,
    "supervisord": supervisord,
    "circus": circus,
    "pm2": pm2,
    "s6": s6,
    "runit": runit,
}
NEEDS = {"s6": "s6-svscan", "runit": "runsvdir", "pm2": "npm"}
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def be_init() -> None:
    """Go on in a child, and reap what is orphaned below it at once, as a usual init does."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise SystemExit("prctl(PR_SET_CHILD_SUBREAPER) failed")
    bench = os.fork()
    if bench == 0:
        return
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, _: os.kill(bench, number))
    while True:
        pid, status = os.wait()
        if pid == bench:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="kills (default 20)")
    parser.add_argument("--children", type=int, default=50)
    parser.add_argument("--idle", type=float, default=30.0, help="idle seconds (default 30)")
    parser.add_argument("--only", nargs="*", choices=FIELD, default=list(FIELD))
    args = parser.parse_args()
    be_init()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if {"supervisord", "circus"} & set(args.only):
        make_peers()
    names = [f"c{number:02}" for number in range(args.children)]
    found: dict[str, Figures] = {}
    for name in args.only:
        if name in NEEDS and shutil.which(NEEDS[name]) is None:
            print(f"{name}: {NEEDS[name]} is not installed; left out")
            continue
        if name == "pm2":
            make_pm2()
        with tempfile.TemporaryDirectory(prefix="gridfleet-field-") as temp:
            children = Children(Path(temp))
            try:
                with FIELD[name](Path(temp), children, names) as peer:
                    found[name] = run_peer(peer, children, names, args)
                print(f"{name}: done", flush=True)
            except SystemExit as error:  # one that won't run here costs its own column
                print(f"{name}: {error}", flush=True)
            finally:
                children.close()
    show(found, args)


def show(found: dict[str, Figures], args: argparse.Namespace) -> None:
    count = args.children
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("SIGKILL -> new process, median ms", lambda f: f"{statistics.median(f.kill_ms):.1f}"),
        ("  min - max", lambda f: f"{min(f.kill_ms):.1f}-{max(f.kill_ms):.1f}"),
        (f"{count} small children up, ms", lambda f: f"{f.up_ms:.0f}"),
        (f"PSS of the supervisors at {count}, MB", lambda f: f"{f.pss_mb:.1f}"),
        (f"CPU in {args.idle:g} idle s, s", lambda f: f"{f.idle_cpu_s:.2f}"),
        (f"list at {count}, median ms", lambda f: f"{statistics.median(f.list_ms):.0f}"),
        (f"stop all {count}, ms", lambda f: f"{f.stop_ms:.0f}"),
    ]
    print(f"\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'':36}" + "".join(f"{name:>13}" for name in found))
    for title, cell in rows:
        print(f"{title:36}" + "".join(f"{cell(figures):>13}" for figures in found.values()))


if __name__ == "__main__":
    main()
