"""Ports that must be known before their server listens: in a config, in a record, in a command.

A server in the test's own process asks for port 0. One that a config names cannot, and the answer
to a port 0 asked beforehand does not keep: the kernel gives it, a moment later, to any outgoing
connection of this machine, of the next worker's tests too. So these come from below the range of
outgoing connections; each was bound once before it is given, and each process has blocks of its
own: a block is held by an abstract socket, which the kernel frees with the process, killed or not.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

FIRST = 11_000  # above the ports that instances choose for themselves, from 5001 on
SIZE = 100
_held: list[socket.socket] = []
_mine: Iterator[int] = iter(())


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has and nobody else is given while this process lives."""
    global _mine
    while True:
        for port in _mine:
            if _is_free(port):
                return port
        _mine = iter(own_block())


def own_block() -> range:
    """SIZE ports in a row that no other process of any test run is given; free ones, mostly."""
    last = _first_outgoing() - SIZE
    count = (last - FIRST) // SIZE + 1
    for number in itertools.islice(itertools.count(os.getpid()), count):
        first = FIRST + number % count * SIZE
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0gridfleet-tests-ports-{first}")
        except OSError as error:
            holder.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        _held.append(holder)
        return range(first, first + SIZE)
    raise AssertionError(f"all blocks of {SIZE} ports from {FIRST} to {last} are held")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _first_outgoing() -> int:
    """Where the kernel's own range begins; a range that leaves no room below is taken as it is."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return first if first >= FIRST + 10 * SIZE else 60_000
