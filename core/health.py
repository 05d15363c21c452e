"""Is the child ready, and is it stuck: one HTTP probe without blocking, one reader of the beat.

What lives here: `Probe`, a single `GET /health` on a non-blocking socket that a selector drives;
`read_beat`, which reads the engine's heartbeat file. Neither decides anything: what follows from a
verdict is `core.supervision`'s.

Rules they keep: a probe reads at most 64 KiB and its timeout is the caller's timer; an answer of
another instance or of another process is STRANGER, never READY; a beat counts only when its PID and
start time are the child's. Standard library only.
"""

from __future__ import annotations

import enum
import errno
import ipaddress
import json
import os
import selectors
import socket
from dataclasses import dataclass
from pathlib import Path

_MAX_ANSWER = 64 * 1024
OUT_OF_MEANS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Faults of ours and of the machine, never of the child that we look at."""
_BEAT_SIZE = 128  # fixed by the format: one space-padded line


class Verdict(enum.Enum):
    """What one probe found."""

    READY = "ready"  # 200, our id and pid
    DEGRADED = "degraded"  # it answers that it is not well
    DEAD_LOOP = "dead_loop"  # it answers `live: false`: only a restart helps
    STRANGER = "stranger"  # another program answers on the port
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """A verdict and words for the log."""

    verdict: Verdict
    detail: str = ""
    refused: bool = False  # nobody listens on the port


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The engine's last sign of life; `mono` is the system-wide monotonic clock, in seconds.

    `until` is when the wait that it began, for an exchange, must have ended; `mono` if it is none.
    """

    pid: int
    start: int
    mono: float
    until: float
    loops: int
    ready: bool


def read_beat(path: Path) -> Beat | None:
    """Read a heartbeat; None when there is none or it is not whole.

    Errors: OSError when it is we who can't look (no descriptor left): that says nothing of a bot.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in OUT_OF_MEANS:
            raise
        return None
    try:
        raw = json.loads(os.read(fd, _BEAT_SIZE * 2))
        if not isinstance(raw, dict):
            return None
        return Beat(
            pid=int(raw["pid"]),
            start=int(raw["start"]),
            mono=float(raw["mono"]),
            until=float(raw["until"] if "until" in raw else raw["mono"]),
            loops=int(raw["loops"]),
            ready=raw["ready"] is True,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(fd)


def probe_address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int], str]:
    """Where to connect for a page bound to `host`, and the Host header that its guard accepts.

    A wildcard bind is asked over loopback. A host name other than localhost is asked there too:
    resolving it could block, and the page of this machine is bound here.
    """
    if host in ("", "localhost"):
        host = "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = ipaddress.ip_address("127.0.0.1")
    if address.version == 6:
        target = "::1" if address.is_unspecified else str(address)
        return socket.AF_INET6, (target, port), f"[::1]:{port}"
    target = "127.0.0.1" if address.is_unspecified else str(address)
    return socket.AF_INET, (target, port), f"127.0.0.1:{port}"


class Probe:
    """One `GET /health`. Register `sock` for `events`; call `advance` when it is ready."""

    def __init__(self, host: str, port: int, instance_id: str, pid: int | None) -> None:
        """Begin to connect. `pid` None: any process of this instance may answer."""
        self._instance_id = instance_id
        self._pid = pid
        family, address, header = probe_address(host, port)
        self._request = (
            f"GET /health HTTP/1.1\r\nHost: {header}\r\nAccept: application/json\r\n"
            "User-Agent: gridfleet-supervisor\r\nConnection: close\r\n\r\n"
        ).encode("ascii")
        self._answer = bytearray()
        self._connected = False
        self.result: ProbeResult | None = None
        self.events = selectors.EVENT_WRITE
        self.sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = self.sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self._fail(code)

    def advance(self) -> ProbeResult | None:
        """Go as far as the socket lets it; the result once there is one."""
        if self.result is not None:
            return self.result
        try:
            if self.events == selectors.EVENT_WRITE:
                self._write()
            else:
                self._read()
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(Verdict.NO_ANSWER, error.strerror or str(error))
        return self.result

    def time_out(self, timeout_s: float) -> ProbeResult:
        """Give up; the verdict is NO_ANSWER."""
        return self.result or self._end(Verdict.NO_ANSWER, f"no answer within {timeout_s:g} s")

    def close(self) -> None:
        self.sock.close()

    def _write(self) -> None:
        if not self._connected:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._fail(code)
                return
            self._connected = True
        self._request = self._request[self.sock.send(self._request) :]
        if not self._request:
            self.events = selectors.EVENT_READ

    def _read(self) -> None:
        chunk = self.sock.recv(_MAX_ANSWER)
        self._answer += chunk
        if len(self._answer) > _MAX_ANSWER:
            self._end(Verdict.STRANGER, f"answered more than {_MAX_ANSWER} bytes")
        elif not chunk or _is_whole(self._answer):
            self.result = judge_answer(bytes(self._answer), self._instance_id, self._pid)

    def _fail(self, code: int) -> None:
        self.result = ProbeResult(
            verdict=Verdict.NO_ANSWER,
            detail=os.strerror(code),
            refused=code == errno.ECONNREFUSED,
        )

    def _end(self, verdict: Verdict, detail: str) -> ProbeResult:
        self.result = ProbeResult(verdict=verdict, detail=detail)
        return self.result


def judge_answer(answer: bytes, instance_id: str, pid: int | None) -> ProbeResult:
    """Judge a whole HTTP answer: the first of stranger, dead loop, ready, degraded that fits.

    With `pid` the body must name that process and the id; without (a foreign program), what it
    names must be right and what it leaves out is not missed.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return ProbeResult(
            verdict=Verdict.STRANGER if answer else Verdict.NO_ANSWER,
            detail="no HTTP answer" if answer else "closed without an answer",
        )
    status = int(words[1])
    try:
        raw = json.loads(_dechunked(head, body))
    except (ValueError, RecursionError):
        raw = None
    said = raw if isinstance(raw, dict) else {}
    named = said.get("instance_id")
    if named != instance_id and not (pid is None and named is None):
        return ProbeResult(
            verdict=Verdict.STRANGER,
            detail=f"HTTP {status} from another program (instance_id {named!r:.80})",
        )
    if pid is not None and said.get("pid") != pid:
        return ProbeResult(
            verdict=Verdict.STRANGER,
            detail=f"another process of this instance answers (pid {said.get('pid')!r:.20})",
        )
    detail = f"HTTP {status}: {said.get('status', '')!s:.200}".rstrip(": ")
    if said.get("live") is False:
        return ProbeResult(verdict=Verdict.DEAD_LOOP, detail=detail)
    if status == 200:
        return ProbeResult(verdict=Verdict.READY, detail=detail)
    return ProbeResult(verdict=Verdict.DEGRADED, detail=detail)


def _headers(head: bytes) -> dict[str, str]:
    found = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        found[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
    return found


def _is_whole(answer: bytes | bytearray) -> bool:
    """Tell whether head and body have arrived; without a length only the stream's end tells."""
    head, separator, body = bytes(answer).partition(b"\r\n\r\n")
    if not separator:
        return False
    headers = _headers(head)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return body.endswith(b"0\r\n\r\n")
    length = headers.get("content-length", "")
    return length.isdigit() and len(body) >= int(length)


def _dechunked(head: bytes, body: bytes) -> bytes:
    if _headers(head).get("transfer-encoding", "").lower() != "chunked":
        return body
    whole = b""
    while body:
        size_text, _, body = body.partition(b"\r\n")
        size = int(size_text.split(b";")[0] or b"0", 16)
        if size == 0:
            break
        whole += body[:size]
        body = body[size + 2 :]
    return whole
