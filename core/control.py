"""The control channel of a supervisor: a Unix socket in the run directory, one JSON line a message.

A client sends one request, `{"op": ..., ...}`, and gets one answer, `{"ok": true, ...}` or `{"ok":
false, "error": ...}`. With `"watch": true` the connection stays: every change of state follows as
a line `{"event": "state", ...}`, and the end of the stream is the end of the supervisor.

Rules it keeps: the path goes through /proc/self/fd, so that a deep root passes the socket's 108
bytes; only our own user and root are heard (SO_PEERCRED); a request is at most 1 MiB; a slow or
dead client costs its own connection, never a wait of the supervisor. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core import process
from core.identity import identify

SOCKET_NAME = "control.sock"

_MAX_REQUEST = 1 << 20
_MAX_BACKLOG = 1 << 18  # what a watcher may leave unread before it is dropped
_NUDGE_S = 2.0
_UCRED = struct.Struct("3i")

Message = dict[str, Any]


class ControlError(Exception):
    """The supervisor could not be reached, or did not understand."""


@contextlib.contextmanager
def _short_path(run_dir: Path) -> Iterator[str]:
    """Give a name of the socket that is short however deep the directory is."""
    fd = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


class Peer:
    """Someone who listens: a connected client, or the pipe of the command that forked us."""

    def __init__(self, fd: int, close: Callable[[], None]) -> None:
        self._fd = fd
        self._close = close
        self._unsent = b""
        self.is_watching = True
        self.is_open = True

    def fileno(self) -> int:
        return self._fd

    def send(self, message: Message) -> None:
        """Queue one line and write what fits; a broken or overfull peer is closed."""
        if not self.is_open:
            return
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()
        if len(self._unsent) > _MAX_BACKLOG:
            self.close()

    def flush(self) -> bool:
        """Write what fits; True when nothing is left."""
        try:
            while self.is_open and self._unsent:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:
            return False
        except OSError:
            self.close()
        return True

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._close()


class ControlServer:
    """Accepts clients on the socket and hands their requests to `handle`.

    The caller registers the sockets: `register(fd, callback)` and `unregister(fd)` belong to its
    selector's loop.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        register: Callable[[int, int, Callable[[int], None]], None],
        unregister: Callable[[int], None],
        handle: Callable[[Peer, Message], None],
    ) -> None:
        self._run_dir = run_dir
        self._register = register
        self._unregister = unregister
        self._handle = handle
        self._inputs: dict[int, bytearray] = {}
        self._sockets: dict[int, socket.socket] = {}
        self.peers: list[Peer] = []
        self._listener: socket.socket | None = None
        self._inode = 0
        self._is_deaf = False  # no descriptor was left for a client

    def open(self) -> None:
        """Bind. The supervisor lock must be held: what is left at the name is then stale."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with _short_path(self._run_dir) as path:
                with contextlib.suppress(FileNotFoundError):
                    (self._run_dir / SOCKET_NAME).unlink()
                listener.bind(path)
            (self._run_dir / SOCKET_NAME).chmod(0o600)
            listener.listen(16)
            self._inode = (self._run_dir / SOCKET_NAME).lstat().st_ino
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._register(listener.fileno(), selectors.EVENT_READ, self._accept)

    def reopen_if_lost(self) -> bool:
        """Bind anew when somebody removed the socket (S5); True when that was needed."""
        if self._is_deaf and self._listener is not None:
            self._is_deaf = False
            self._register(self._listener.fileno(), selectors.EVENT_READ, self._accept)
        with contextlib.suppress(OSError):
            if (self._run_dir / SOCKET_NAME).lstat().st_ino == self._inode:
                return False
        if self._listener is not None:
            self._unregister(self._listener.fileno())
            self._listener.close()
            self._listener = None
        self.open()
        return True

    def add_pipe(self, fd: int) -> None:
        """Let the writing end of a pipe watch, as a client would."""
        os.set_blocking(fd, False)
        self.peers.append(Peer(fd, lambda: os.close(fd)))

    def broadcast(self, message: Message) -> None:
        """Tell everyone who watches."""
        for peer in list(self.peers):
            if peer.is_watching:
                self._tell(peer, message)

    def unbind(self) -> None:
        """Remove the socket; nobody new can connect, and who is connected stays."""
        if self._listener is not None:
            self._unregister(self._listener.fileno())
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                (self._run_dir / SOCKET_NAME).unlink()

    def close(self) -> None:
        """Remove the socket and end every connection."""
        self.unbind()
        for peer in list(self.peers):
            peer.close()
        self.peers.clear()

    def _accept(self, _: int) -> None:
        assert self._listener is not None
        try:
            client, _address = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # It would stay ready and spin us (S16); `reopen_if_lost` listens again.
                self._unregister(self._listener.fileno())
                self._is_deaf = True
            return
        client.setblocking(False)
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _pid, uid, _gid = _UCRED.unpack(credentials)
        if uid not in (0, os.geteuid()):
            client.close()
            return
        fd = client.fileno()
        self._inputs[fd] = bytearray()
        self._sockets[fd] = client
        peer = Peer(fd, lambda: self._drop(fd))
        peer.is_watching = False
        self.peers.append(peer)
        self._register(fd, selectors.EVENT_READ, lambda mask: self._serve(peer, mask))

    def _serve(self, peer: Peer, mask: int) -> None:
        fd = peer.fileno()
        if mask & selectors.EVENT_WRITE and peer.flush() and peer.is_open:
            self._register(fd, selectors.EVENT_READ, lambda m: self._serve(peer, m))
        if not mask & selectors.EVENT_READ or not peer.is_open:
            return
        try:
            chunk = self._sockets[fd].recv(65536)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        buffer = self._inputs[fd]
        buffer += chunk
        if not chunk or len(buffer) > _MAX_REQUEST:
            peer.close()
            return
        while peer.is_open and b"\n" in buffer:
            line, _, rest = bytes(buffer).partition(b"\n")
            buffer[:] = rest
            self._answer(peer, line)

    def _answer(self, peer: Peer, line: bytes) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            self._tell(peer, {"ok": False, "error": "expected one JSON object on a line"})
            return
        peer.is_watching = request.get("watch") is True
        self._handle(peer, request)

    def _tell(self, peer: Peer, message: Message) -> None:
        peer.send(message)
        if peer.is_open and peer.fileno() in self._sockets and not peer.flush():
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._register(peer.fileno(), both, lambda mask: self._serve(peer, mask))

    def _drop(self, fd: int) -> None:
        self._unregister(fd)
        self._inputs.pop(fd, None)
        client = self._sockets.pop(fd, None)
        if client is not None:
            client.close()
        self.peers = [peer for peer in self.peers if peer.fileno() != fd]


class ControlClient:
    """A command's side of the channel. Blocking, with deadlines."""

    def __init__(self, run_dir: Path, timeout_s: float = 5.0) -> None:
        """Connect. Errors: ControlError."""
        self._buffer = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            with _short_path(run_dir) as path:
                self._socket.connect(path)
            credentials = self._socket.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
            )
        except OSError as error:
            self._socket.close()
            raise ControlError(f"{run_dir / SOCKET_NAME}: {error.strerror or error}") from None
        self.server_pid: int = _UCRED.unpack(credentials)[0]

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, op: str, *, watch: bool = False, **fields: Any) -> Message:
        """Send one request and return its answer. Errors: ControlError."""
        self.send(op, watch=watch, **fields)
        return self.answer(time.monotonic() + (self._socket.gettimeout() or 5.0))

    def send(self, op: str, *, watch: bool = False, **fields: Any) -> None:
        """Send one request; `answer` gives what comes of it. Errors: ControlError."""
        request = json.dumps({"op": op, "watch": watch, **fields}).encode() + b"\n"
        try:
            self._socket.sendall(request)
        except OSError as error:
            raise ControlError(f"the supervisor hung up: {error.strerror or error}") from None

    def answer(self, deadline: float) -> Message:
        """Read the answer to what was sent, until a monotonic time. Errors: ControlError."""
        while (message := self.read(deadline)) is not None:
            if "ok" in message:  # state lines of an earlier watch may come first
                return message
        raise ControlError("the supervisor gave no answer")

    def detach(self) -> tuple[int, bytes]:
        """Give the connection away: its descriptor, and what was read of it but not yet used."""
        self._socket.settimeout(None)
        return self._socket.detach(), bytes(self._buffer)

    def read(self, deadline: float | None) -> Message | None:
        """Read the next line; None when the supervisor has ended. Errors: ControlError (time)."""
        while b"\n" not in self._buffer:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise ControlError("the supervisor gave no answer in time")
            self._socket.settimeout(left)
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
                raise ControlError("the supervisor gave no answer in time") from None
            except OSError:
                chunk = b""
            if not chunk:
                return None
            self._buffer += chunk
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer[:] = rest
        message = json.loads(line)
        return message if isinstance(message, dict) else {}


def connect(run_dir: Path, supervisor: int) -> ControlClient:
    """Connect to a living supervisor, also when somebody removed its socket. Errors: ControlError.

    It looks after its socket whenever a signal comes; SIGCHLD asks for nothing else (S5).
    """
    try:
        return ControlClient(run_dir)
    except ControlError:
        me = identify(supervisor)
        pidfd = process.open_pidfd(me.pid, me.start) if me is not None else None
        if pidfd is None:
            raise
    try:
        process.send(pidfd, signal.SIGCHLD)
    finally:
        os.close(pidfd)
    deadline = time.monotonic() + _NUDGE_S
    while True:
        try:
            return ControlClient(run_dir)
        except ControlError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)
