"""`instance_cli list`: the table, its states, its JSON, on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from instance_shell import ROOT, Cli
from registry_world import start_claimed

from cli import instance_cli
from core.instance_manager import InstanceRegistry

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("english")]


def test_list_of_nothing(cli: Cli) -> None:
    """A new root: a sentence for a person, an empty list for a program, exit 0."""
    code, out, _ = cli("list")
    assert (code, "no instance runs" in out) == (0, True)
    assert cli.json("list") == []


def test_list_and_list_all(cli: Cli, registry: InstanceRegistry, tmp_path: Path) -> None:
    """The table has what lives; how many more there are is said; `--all` shows them."""
    registry.register("ended", {"status": "EXITED"})
    with start_claimed(tmp_path, "live", web_port=1) as supervisor:
        registry.update("live", status="STARTING")
        code, out, err = cli("list")
        assert (code, err) == (0, "")
        assert f"| live          | ● STARTING | {supervisor.pid:>5} |" in out
        assert "ended " not in out
        assert "1 more have ended" in out

        assert [entry["instance_id"] for entry in cli.json("list")] == ["live"]
        assert [entry["instance_id"] for entry in cli.json("list", "--all")] == ["ended", "live"]


def test_messages_in_chinese(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a person; JSON stays as it is."""
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    assert "沒有執行中的實例" in cli("list")[1]
    assert cli.json("list") == []


def run(
    *words: str, environ: dict[str, str] | None = None, script: str = "cli/instance_cli.py"
) -> subprocess.CompletedProcess[str]:
    """Run it from the checkout, as a file, from another directory."""
    return subprocess.run(
        [sys.executable, str(ROOT / script), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, **(environ or {})},
        encoding="utf-8",
    )


def test_it_runs_as_a_file_from_anywhere(registry: InstanceRegistry, tmp_path: Path) -> None:
    """`python3 cli/instance_cli.py` needs no installation; `--root` may stand before the verb."""
    registry.register("a", {"status": "FATAL"})
    done = run("--root", str(tmp_path), "list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["instance_id"] == "a"
    assert run("list", environ={"GRID_ROOT": str(tmp_path)}).stdout.count("FATAL") == 1


def test_an_output_that_cannot_encode_dots_gets_ascii(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """An ASCII terminal is no reason to fail."""
    registry.register("a", {"status": "FATAL"})
    done = run("list", "--root", str(tmp_path), environ={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "- FATAL" in done.stdout


def on_a_terminal(root: Path, environ: dict[str, str]) -> str:
    """Run `list` with standard output on a terminal; gives what it shows."""
    reader, writer = pty.openpty()
    command = [sys.executable, str(ROOT / "cli/instance_cli.py"), "list", "--root", str(root)]
    with subprocess.Popen(command, stdout=writer, env={**os.environ, **environ}) as process:
        os.close(writer)
        shown = b""
        while True:
            try:
                piece = os.read(reader, 65_536)
            except OSError:  # the terminal's end
                break
            if not piece:
                break
            shown += piece
    os.close(reader)
    assert process.returncode == 0
    return shown.decode()


def test_colour_only_on_a_terminal_and_not_with_no_color(
    registry: InstanceRegistry, tmp_path: Path
) -> None:
    """A red dot on a terminal; a plain one with NO_COLOR, or in a pipe."""
    registry.register("a", {"status": "FATAL"})
    assert "🔴 FATAL" in on_a_terminal(tmp_path, {})
    assert "○ FATAL" in on_a_terminal(tmp_path, {"NO_COLOR": "1"})
    assert "○ FATAL" in run("list", "--root", str(tmp_path)).stdout


def test_a_reader_that_goes_away_is_no_failure(registry: InstanceRegistry, tmp_path: Path) -> None:
    """`list | head -1` ends quietly."""
    registry.register("a", {"status": "FATAL"})
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "cli/instance_cli.py"), "list", "--root", str(tmp_path)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_watch_ends_with_an_interrupt(
    cli: Cli, registry: InstanceRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It repeats until Ctrl-C, which is its good end."""
    registry.register("a", {"status": "FATAL"})
    rounds = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(instance_cli.time, "sleep", sleep)
    code, out, _ = cli("list", "--watch")
    assert (code, out.count("FATAL")) == (0, 3)
    assert "\x1b" not in out


def test_watch_ends_when_nobody_reads_it(tmp_path: Path) -> None:
    """`list --watch | head -1` comes to an end, as a good one."""
    reader, writer = os.pipe()
    watch = subprocess.Popen(
        [sys.executable, "-m", "cli.instance_cli", "--root", str(tmp_path), "list", "--watch"],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(writer)
    assert os.read(reader, 10)
    os.close(reader)
    _, complaints = watch.communicate(timeout=30)
    assert (watch.returncode, complaints) == (0, b"")


def test_words_that_find_no_room_are_a_failure(tmp_path: Path) -> None:
    """A list that could not be written whole is no list: exit 1, with the reason, and no watch."""
    for words in (["list", "--json"], ["list", "--watch"], ["cleanup"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "cli.instance_cli", "--root", str(tmp_path), *words],
                stdout=full,
                stderr=subprocess.PIPE,
                cwd=ROOT,
                timeout=30,
                check=False,
            )
        assert done.returncode == 1, words
        assert b"No space left" in done.stderr
