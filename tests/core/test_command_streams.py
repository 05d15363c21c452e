"""Commands whose streams are closed or full, and files whose umask is wide."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_shell import SCRIPT, Shell, write_config
from toy_fleet import ToyFleet

from core.identity import read_pid_file

pytestmark = pytest.mark.slow  # every test runs the real command as a process


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing(run: Shell, fleet: ToyFleet, streams: str) -> None:
    """Started by something that gives no streams: the same work, the same exit codes."""
    write_config(fleet, "toy")
    command = f"{sys.executable} {SCRIPT} --root {fleet.root}"
    for verb, code in (
        ("start --config toy", 0),
        ("list --json", 0),
        ("restart toy", 0),
        ("status toy", 0),
        ("stop toy", 0),
        ("status toy", 3),
    ):
        line = f"{command} {verb} {streams}"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), (verb, done.stderr)
    assert fleet.processes() == []


def test_a_full_disk_under_standard_output_stops_no_work(run: Shell, fleet: ToyFleet) -> None:
    """All three are stopped, and the exit code tells that nobody could be told."""
    names = ("a", "b", "c")
    for name in names:
        write_config(fleet, name)
    run("start", "--all")
    for verb in (("list", "--json"), ("stop", "--all", "--json"), ("stop", "--all")):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, str(SCRIPT), "--root", str(fleet.root), *verb],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert "standard output: No space left on device" in done.stderr
    assert {fleet.status(name) for name in names} == {"STOPPED"}
    assert fleet.processes() == []


def test_files_of_a_started_instance_are_private(run: Shell, fleet: ToyFleet) -> None:
    """Umask 000 in the shell: directories 0700, files 0600."""
    write_config(fleet, "toy")
    before = os.umask(0)
    try:
        run("start", "--config", "toy")
    finally:
        os.umask(before)
    for path in fleet.folder().rglob("*"):
        if path.name in ("said", "starts", "heartbeat"):
            continue  # the toy's own
        mode = path.lstat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), path
    found = read_pid_file(fleet.folder() / "daemon.pid")
    assert found is not None
    assert (fleet.folder() / "daemon.pid").read_text() == f"{found[0]}\n"
