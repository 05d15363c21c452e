"""A fleet of toys, and everything that can be done to it: for the chaos test.

Every blow is one that a machine or a person deals out in life. After each series the fleet is left
alone, and `healed` waits until what should run does; `assert_whole` then looks at every promise.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toy_fleet import TOY, ToyFleet, free_port, is_alive, wait_for

from core import pidfile, process
from core.desired import Desired
from core.identity import read_pid_file
from core.log_reading import parts

SCRIPT = TOY.parents[2] / "core" / "daemon_manager.py"
PATIENCE_S = 90.0
_LINE = re.compile(r"line (\d+) (\d+) \.{40} end")


class ChaosFleet:
    """Toys by name; half of them as our bots, half as foreign programs. `wanted`: should run."""

    def __init__(self, root: Path, size: int, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.names = [f"c{number:02}" for number in range(size)]
        self.wanted: set[str] = set()
        self.story: list[str] = []
        (root / "config" / "active").mkdir(parents=True)
        shutil.copy(TOY, root / "toy.py")
        self.toys = ToyFleet(root)
        self._ports = {name: free_port() for name in self.names}
        self._edits = dict.fromkeys(self.names, 0)
        for name in self.names:
            self.write_config(name)

    # Commands -------------------------------------------------------------------------------------

    def manage(self, *words: str, timeout: float = 240.0) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k not in ("WEB_TOKEN", "GRID_ROOT")}
        return subprocess.run(
            [sys.executable, str(SCRIPT), "--root", str(self.root), *words],
            capture_output=True,
            text=True,
            cwd=self.root,
            env={**env, "LC_ALL": "C.UTF-8"},
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def start(self, *names: str) -> None:
        self.wanted.update(names)
        words = [word for name in names for word in ("--config", name)]
        done = self.manage("start", "--wait", "60", *words)
        assert "Traceback" not in done.stderr, done.stderr

    def stop(self, *names: str) -> None:
        self.wanted.difference_update(names)
        done = self.manage("stop", *names)
        assert done.returncode == 0, (done.stderr, self.story)

    def write_config(self, name: str, text: str | None = None) -> None:
        document: dict[str, Any] = {
            "daemon_config": {
                "script_path": "toy.py",
                "python_path": sys.executable,
                "bot_args": ["--bot", "--chatter", "0.02"],
                "web_port": self._ports[name],
                "health_check": "auto",
                "health_check_interval": 0.5,
                "health_check_failures": 6,
                "restart_delay": 0.05,
                "restart_delay_max": 0.5,
                "max_restart_attempts": 100_000,
                "stop_timeout": 3,
                "startup_timeout": 60,
                "memory_limit_mb": None,
                "cpu_limit_percent": None,
                "finish_after": 1 + self._edits[name],
            }
        }
        path = self.root / "config" / "active" / f"{name}.json"
        path.write_text(json.dumps(document) if text is None else text)

    # Blows ----------------------------------------------------------------------------------------

    def blows(self) -> list[Callable[[str], None]]:
        """Everything that may happen to one instance."""
        return [
            self.kill_bot,
            self.kill_bot,
            self.freeze_bot,
            self.kill_supervisor,
            self.kill_both,
            self.freeze_supervisor,
            self.term_bot,
            self.edit_config,
            self.break_config,
            self.remove_pid_files,
            self.remove_socket,
            self.damage_registry,
            self.empty_registry,
            self.starve_of_descriptors,
            self.hang_up,
            self.restart_supervisor,
            self.stop_and_start,
        ]

    def strike(self, count: int) -> None:
        """Deal out so many blows, each to an instance by chance."""
        for _ in range(count):
            blow, name = self.random.choice(self.blows()), self.random.choice(self.names)
            self.story.append(f"{blow.__name__} {name}")
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                blow(name)

    def kill_bot(self, name: str) -> None:
        self._signal(self._bot(name), signal.SIGKILL)

    def freeze_bot(self, name: str) -> None:
        """SIGSTOP: it lives, its engine does not turn."""
        self._signal(self._bot(name), signal.SIGSTOP)

    def term_bot(self, name: str) -> None:
        """By a stranger: it ends in order, with exit 0, and so it has finished for good."""
        pid = self._bot(name)
        if pid is None:
            return
        self._signal(pid, signal.SIGTERM)

    def kill_supervisor(self, name: str) -> None:
        self._signal(self._supervisor(name), signal.SIGKILL)

    def freeze_supervisor(self, name: str) -> None:
        """SIGSTOP, then its bot dies too; somebody notices and kills what does not answer."""
        pid = self._supervisor(name)
        self._signal(pid, signal.SIGSTOP)
        self.kill_bot(name)
        self._signal(pid, signal.SIGCONT)

    def kill_both(self, name: str) -> None:
        self.kill_supervisor(name)
        self.kill_bot(name)

    def edit_config(self, name: str) -> None:
        self._edits[name] += 1
        self.write_config(name)

    def break_config(self, name: str) -> None:
        self.write_config(name, '{"daemon_config": {"web_port": "nonsense"')
        self.write_config(name)

    def remove_pid_files(self, name: str) -> None:
        for file in (pidfile.DAEMON_PID, pidfile.BOT_PID):
            with contextlib.suppress(FileNotFoundError):
                (self._folder(name) / file).unlink()

    def remove_socket(self, name: str) -> None:
        (self._folder(name) / "control.sock").unlink()

    def damage_registry(self, name: str) -> None:
        path = self.root / "logs" / "instances.json"
        text = path.read_bytes()
        path.write_bytes(text[: len(text) // 2])

    def empty_registry(self, name: str) -> None:
        (self.root / "logs" / "instances.json").write_text("{}")

    def starve_of_descriptors(self, name: str) -> None:
        """No descriptor more for a while: probes, spawns and logs fail, nobody dies of it."""
        pid = self._supervisor(name)
        if pid is None:
            return
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        self.kill_bot(name)
        bot = self._bot(name)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: bot is None or not is_alive(bot), "", 2.0)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def hang_up(self, name: str) -> None:
        self._signal(self._supervisor(name), signal.SIGHUP)

    def restart_supervisor(self, name: str) -> None:
        self.manage("restart", name, "--supervisor-only")

    def stop_and_start(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    # Afterwards -----------------------------------------------------------------------------------

    def heal(self) -> None:
        """What a person or a timer does: start what has no supervisor, until all are up."""

        def is_up() -> bool:
            down = [name for name in sorted(self.wanted) if self._where(name) != "RUNNING"]
            orphans = [name for name in down if self._supervisor(name) is None]
            if orphans:
                self.start(*orphans)
            return not down

        try:
            wait_for(is_up, "a whole fleet", PATIENCE_S)
        except AssertionError as error:
            where = {name: self._where(name) for name in sorted(self.wanted)}
            down = {name: state for name, state in where.items() if state != "RUNNING"}
            last = {name: self.toys.events(name)[-4:] for name in down}
            raise AssertionError(f"{error}: {down}; {last}; {self.story}") from None

    def assert_whole(self) -> None:
        """Each wanted instance runs exactly once; nothing else runs; no line was lost or torn."""
        by_instance: dict[str, list[int]] = {name: [] for name in self.names}
        for pid in self.toys.processes():
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            name = next(item[12:].decode() for item in environ if item.startswith(b"INSTANCE_ID="))
            by_instance[name].append(pid)
        expected = {name: 1 if name in self.wanted else 0 for name in self.names}
        assert {name: len(pids) for name, pids in by_instance.items()} == expected, self.story
        supervisors = {name: self._supervisor(name) for name in self.names}
        assert {name: pid is not None for name, pid in supervisors.items()} == {
            name: name in self.wanted for name in self.names
        }, self.story
        assert set(Desired(self.root).load()) == self.wanted, self.story
        assert set(self.toys.registry.load()) == set(self.names), self.story

    def assert_empty(self) -> None:
        """After a stop of all: no process, lock, port or file is left over."""
        assert self.toys.processes() == [], self.story
        left = [
            path.name
            for name in self.names
            for path in self._folder(name).iterdir()
            if path.name in (pidfile.DAEMON_PID, pidfile.BOT_PID, "control.sock")
            or path.name.endswith(".tmp")
        ]
        assert left == [], self.story
        for name in self.names:
            for lock in (pidfile.SUPERVISOR_LOCK, pidfile.BOT_LOCK):
                assert not pidfile.is_held(self._folder(name) / lock), (name, self.story)
        assert not list((self.root / "logs").glob(".*.tmp"))

    def assert_no_line_lost(self) -> None:
        """Of every process that ever ran, its numbered lines are there from 1 on, without a gap."""
        for name in self.names:
            numbers: dict[str, list[int]] = {}
            for path in parts(self._folder(name), "bot_stdout.log"):
                for line in path.read_text().splitlines():
                    if "." * 40 not in line:
                        continue
                    match = _LINE.fullmatch(line)
                    assert match is not None, f"torn: {line!r} in {path}"
                    numbers.setdefault(match[1], []).append(int(match[2]))
            assert numbers, f"{name} never said anything"
            for pid, found in numbers.items():
                assert found == list(range(1, len(found) + 1)), f"{name} {pid}: a gap"

    # Looking --------------------------------------------------------------------------------------

    def _folder(self, name: str) -> Path:
        return self.toys.folder(name)

    def _where(self, name: str) -> str:
        alive = self.toys.registry.liveness(name)
        if alive.pid is None or alive.bot_pid is None:
            return "DOWN"
        stat = process.read_stat(alive.bot_pid)
        if stat is None or stat.state == "T":
            return "FROZEN"
        return self.toys.status(name)

    def _bot(self, name: str) -> int | None:
        return self.toys.registry.liveness(name).bot_pid

    def _supervisor(self, name: str) -> int | None:
        found = read_pid_file(self._folder(name) / pidfile.SUPERVISOR_LOCK)
        if found is None or not pidfile.is_held(self._folder(name) / pidfile.SUPERVISOR_LOCK):
            return None
        return found[0] if is_alive(found[0]) else None

    def _signal(self, pid: int | None, signum: int) -> None:
        if pid:
            os.kill(pid, signum)

    def usage(self) -> dict[str, tuple[int, int]]:
        """Resident kB and open descriptors of each supervisor."""
        found = {}
        for name in self.names:
            pid = self._supervisor(name)
            if pid is not None:
                status = Path(f"/proc/{pid}/status").read_text()
                resident = int(status.split("VmRSS:")[1].split()[0])
                found[name] = (resident, len(list(Path(f"/proc/{pid}/fd").iterdir())))
        return found
