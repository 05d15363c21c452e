"""The words of the supervisor's state machine: states, events, actions, policy, what it remembers.

Values only. Nothing here reads a clock, a file or a socket; the rules are in `core.supervision`.
Times are monotonic seconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from core.spec import ChildSpec


class State(enum.Enum):
    """Where an instance stands (CONTRACT 3). ORPHANED is derived by readers and is not here."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    BACKOFF = "BACKOFF"
    FINISHING = "FINISHING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    EXITED = "EXITED"
    FATAL = "FATAL"

    @property
    def has_child(self) -> bool:
        """Whether a child process exists in this state."""
        return self in _WITH_CHILD

    @property
    def is_rest(self) -> bool:
        """Whether nothing happens any more unless somebody asks (or a FATAL retry is armed)."""
        return self in _AT_REST


_WITH_CHILD = frozenset({State.STARTING, State.RUNNING, State.UNHEALTHY, State.STOPPING})
_AT_REST = frozenset({State.STOPPED, State.EXITED, State.FATAL})


class OrdersLeft(enum.Enum):
    """What an exit says about resting orders."""

    NONE = "none"  # the bot proved that none rests, or it cannot have any
    MAYBE = "maybe"  # it died, or kept them on purpose
    UNTOUCHED = "untouched"  # it ended before it could place or cancel one


class Cause(enum.Enum):
    """Why a child is being stopped; the value goes to the logs and into stop.json."""

    STOP = "stop"
    RESTART = "restart"
    STARTUP = "startup"
    HEARTBEAT = "heartbeat"
    PROBE = "probe"
    MEMORY = "memory"
    CPU = "cpu"

    @property
    def is_asked(self) -> bool:
        """Whether a user asked: such a restart costs no budget and waits for no delay."""
        return self in (Cause.STOP, Cause.RESTART)


FINISH_FLOOR_S = 10.0
"""The least time for a finish step: a new process and some round trips, on a busy host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """The settings that `decide` needs, in seconds. `can_finish`: the child is our bot."""

    auto_restart: bool = True
    max_restarts: int = 3
    delay_s: float = 60.0
    window_s: float = 3600.0
    delay_max_s: float = 900.0
    healthy_after_s: float = 600.0
    fatal_retry_s: float | None = None
    startup_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0
    finish_timeout_s: float = 30.0
    kill_wait_s: float = 5.0
    finish_after_s: float = 10.0
    can_finish: bool = True

    @classmethod
    def of(cls, spec: ChildSpec) -> RestartPolicy:
        """Take the policy of one instance out of its spec."""
        return cls(
            auto_restart=spec.restart.auto_restart,
            max_restarts=spec.restart.max_restart_attempts,
            delay_s=spec.restart.restart_delay,
            window_s=spec.restart.restart_window,
            delay_max_s=spec.restart.restart_delay_max,
            healthy_after_s=spec.restart.healthy_after,
            fatal_retry_s=spec.restart.fatal_retry_interval,
            startup_timeout_s=spec.health.startup_timeout,
            stop_timeout_s=spec.health.stop_timeout,
            finish_timeout_s=max(spec.health.stop_timeout, FINISH_FLOOR_S),
            finish_after_s=spec.health.finish_after,
            can_finish=spec.is_bot,
        )


# Events -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """A user (or resurrect) wants it up."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """A live bot of this instance was found: its supervisor had died."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A user or a signal wants it down; `keep_orders` leaves them resting."""

    keep_orders: bool = False


@dataclass(frozen=True, slots=True)
class Restart:
    """A user wants a new child in place of this one."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """The probe answered 200 with our id and pid."""


@dataclass(frozen=True, slots=True)
class Degraded:
    """The probe answered 503, or has not answered often enough."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stuck:
    """The child must be replaced: beat too old, memory or CPU over the limit."""

    cause: Cause = Cause.HEARTBEAT
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The armed timer ran out."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The child is reaped and its group is empty. `code` < 0 is a signal, None is unknown.

    `jitter` is in [0, 1): up to a tenth of the delay is added, so that five bots that died
    together do not come back together. `words` say more, if anybody said more: why a child that
    ended well did.
    """

    code: int | None
    orders: OrdersLeft = OrdersLeft.MAYBE
    jitter: float = 0.0
    words: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The finish step ended; `ok`: it proved that no order of ours rests."""

    ok: bool


Event = Start | Adopt | Stop | Restart | Healthy | Degraded | Stuck | Deadline | Exited | Finished


# Actions ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch the adopted bot."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """Write stop.json, then TERM the child's group. A successor follows when `keep_orders`."""

    cause: Cause
    keep_orders: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """KILL the child's group."""


@dataclass(frozen=True, slots=True)
class StartFinish:
    """Run the finish step."""


@dataclass(frozen=True, slots=True)
class KillFinish:
    """The finish step takes too long: KILL it."""


Action = Spawn | Watch | Terminate | Kill | StartFinish | KillFinish


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorState:
    """All that the machine remembers; times are monotonic seconds.

    `restarts` holds the moments of budgeted restarts within the window, `total_restarts` counts
    every successor for the listings. `streak` is failures in a row. `after` and `respawn_at` say
    where FINISHING leads. `permanent` marks a FATAL that no retry may leave by itself.
    """

    state: State = State.STOPPED
    want_up: bool = False
    restarts: tuple[float, ...] = ()
    total_restarts: int = 0
    streak: int = 0
    healthy_since: float | None = None
    deadline: float | None = None
    cause: Cause | None = None
    keep_orders: bool = False
    unsettled: bool = False
    was_unsettled: bool = False
    after: State | None = None
    respawn_at: float | None = None
    permanent: bool = False
    exit_code: int | None = None
    reason: str = ""
