"""The ports that tests are given: each free, each once, also to workers beside each other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from free_ports import FIRST, free_port, own_block

TESTS = Path(__file__).resolve().parent.parent


def test_no_two_processes_are_given_the_same_port() -> None:
    """Workers ask at the same time, a hundred and fifty times each: no port is given twice."""
    code = (
        "import sys; from free_ports import free_port\n"
        "print(*(free_port() for _ in range(150)), flush=True)\n"
        "sys.stdin.read()\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    given = [free_port() for _ in range(150)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            given += [int(word) for word in worker.stdout.readline().split()]
    finally:
        for worker in workers:
            worker.communicate()
    assert len(given) == len(set(given)) == 600
    assert min(given) >= FIRST


def test_a_port_in_use_is_passed_over() -> None:
    """Somebody listens on the next one: it is not given."""
    block = own_block()
    assert block.start not in own_block()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port() + 1))
        assert free_port() != taken.getsockname()[1]
