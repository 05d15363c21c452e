"""Starting a program in a session of its own: quickly, or with an environment made in the child.

`spawn_plain` is the kernel's vfork by posix_spawn: nothing of us is copied, so it takes a fifth of
the time. `spawn` forks, because the environment has to be made in the child: what it imports and
what secrets it reads then never enter this process.

Rules both keep: argv only, never a shell; standard input from /dev/null; signals as new; no
descriptor goes along but those named; they return once exec is done, or with no process left.
Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping

from core.process import Child, read_stat

EXEC_FAILED = 127
"""What a shell answers for a program that can't be run; our own code for a failed exec."""


_RESETTABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class SpawnError(Exception):
    """The program could not be executed; the message says which and why."""


def close_inherited_on_exec() -> None:
    """Let no descriptor that we were given ourselves go along; ours never do (PEP 446)."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)


def spawn_plain(
    argv: tuple[str, ...],
    *,
    cwd: str,
    env: Mapping[str, str],
    stdout: int,
    stderr: int,
    keep_fds: tuple[int, ...] = (),
) -> Child:
    """Start a program whose environment holds no secret. `close_inherited_on_exec` comes first.

    For a process of one thread: its folder is another one for the moment. Errors: SpawnError.
    """
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.chdir(cwd)
        except OSError as error:
            raise SpawnError(f"working_dir {cwd}: {error.strerror or error}") from None
        try:
            run = os.posix_spawn if "/" in argv[0] else os.posix_spawnp
            pid = run(
                argv[0],
                argv,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, stdout, 1),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                    # Onto itself: it loses its close-on-exec (POSIX.1-2024, glibc 2.29).
                    *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep_fds),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_RESETTABLE,
            )
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or error
            raise SpawnError(f"{argv[0]}: cannot be executed: {words}") from None
    finally:
        os.fchdir(here)
        os.close(here)
    return _child(pid)


def _child(pid: int) -> Child:
    pidfd = os.pidfd_open(pid)  # not reaped yet, so the number is still its own
    stat = read_stat(pid)
    return Child(pid=pid, start=stat.start if stat else 0, pidfd=pidfd, ours=True)


def spawn(
    argv: tuple[str, ...],
    *,
    cwd: str,
    env: Callable[[], Mapping[str, str]],
    stdout: int,
    stderr: int,
    keep_fds: tuple[int, ...] = (),
) -> Child:
    """Start a program in its own session, standard input from /dev/null; return once exec is done.

    `env` is called in the forked child, so what it imports and what secrets it reads never enter
    this process. `keep_fds` stay open in the child under their numbers; every other descriptor,
    also one that we inherited ourselves, is closed. Errors: SpawnError, with no process left.
    """
    report_r, report_w = os.pipe2(os.O_CLOEXEC)
    # Until the child has reset the handlers, a signal to it would wake our own loop's pipe.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _exec(argv, cwd, env, stdout, stderr, keep_fds, report_w)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(report_w)
    try:
        report = _read_report(report_r)
    finally:
        os.close(report_r)
    if report:
        os.waitpid(pid, 0)
        raise SpawnError(report.decode("utf-8", "replace"))
    return _child(pid)


def _exec(
    argv: tuple[str, ...],
    cwd: str,
    env: Callable[[], Mapping[str, str]],
    stdout: int,
    stderr: int,
    keep_fds: tuple[int, ...],
    report: int,
) -> None:
    """Become the program. Runs in the forked child and never returns."""
    message = f"{argv[0]}: cannot be executed"
    try:
        os.setsid()
        for signum in _RESETTABLE:
            signal.signal(signum, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
            if int(name) > 2:
                with contextlib.suppress(OSError):
                    os.set_inheritable(int(name), int(name) in keep_fds)
        message = "environment"
        environment = dict(env())
        message = f"working_dir {cwd}"
        os.chdir(cwd)
        message = f"{argv[0]}: cannot be executed"
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        message += f": {error.strerror or error}"
    except Exception as error:
        message += f": {error}"
    finally:  # whatever happened, this process must not run on as a second supervisor
        with contextlib.suppress(BaseException):
            os.write(report, message.encode("utf-8", "replace")[:4000])
        os._exit(EXEC_FAILED)


def _read_report(fd: int) -> bytes:
    chunks = b""
    while chunk := os.read(fd, 4096):
        chunks += chunk
    return chunks
