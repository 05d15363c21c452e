"""A served instance for each test, and a Chromium that is found or installed once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from fakes_web import Served, serving

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as instance:
        yield instance


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    """One instance for all tests of a module that only knock at its door and leave it as it was."""
    with serving() as instance:
        yield instance


def _find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


COMMANDS = (
    ["apt-get", "update", "-qq"],
    ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
)


@pytest.fixture(scope="session")
def chromium_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a Chromium; installed by apt once where we may; else the test is skipped."""
    path = _find_chromium()
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with (tmp_path_factory.getbasetemp().parent / "chromium.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # apt has room for one; the next worker finds it done
            for command in () if _find_chromium() else COMMANDS:
                try:
                    subprocess.run(
                        command, env=environment, capture_output=True, timeout=600, check=False
                    )
                except (OSError, subprocess.TimeoutExpired):
                    break
        path = _find_chromium()
    if path is None:
        pytest.skip("no chromium: not found, and apt-get could not install it here")
    return path
