"""The error tree and the exit codes. The type of an error says whose move it is.

GridfleetError
├── ConfigError            the operator: a file, an option or an environment variable is wrong
│   └── UnknownSymbol      the same: the exchange does not list this symbol
├── UsageError             the operator: the command itself is wrong
├── StoreError             the operator: the database cannot be read or written
├── IllegalTransition      us: a bug, never a reason to go on
└── ExchangeError
    ├── AuthError          the operator: the exchange refused the credentials
    ├── Retryable          us, later: nothing happened there; try again after `retry_after_s`
    │   ├── Unavailable    the same, for the exchange itself says that it is closed for now
    │   └── NotYet         it has answered, and that proves nothing yet: this question alone waits
    ├── Rejected           the strategy: the exchange refused this order for `reason`
    └── OutcomeUnknown     look it up by client order id; never send it again blind
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of run.py and of the commands (CONTRACT sections 3 and 6)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3  # `status` of a stopped or unknown instance
    AUTH = 4
    FATAL_LIMIT = 5  # `--foreground`: the start limit was reached
    PORT_TAKEN = 6  # retried by the supervisor
    CRASH = 70  # sysexits' EX_SOFTWARE: an error nobody had a policy for


PERMANENT_EXIT_CODES = frozenset({ExitCode.USAGE, ExitCode.AUTH})
"""A supervisor does not retry these: the same start would fail the same way."""


class GridfleetError(Exception):
    """Root of every error this product raises on purpose."""


class ConfigError(GridfleetError):
    """A config that cannot be used; `faults` are lines for the operator, one fault each."""

    def __init__(self, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message if not faults else "\n".join((message, *faults)))
        self.faults = faults or (message,)


class UnknownSymbol(ConfigError):
    """A symbol that the exchange does not list; one that it only has closed is none."""


class UsageError(GridfleetError):
    """A command line that cannot be carried out."""


class StoreError(GridfleetError):
    """A database that cannot be read or written; what was to be written is not there."""


class AlreadyRunning(GridfleetError):
    """Another supervisor holds this instance."""

    def __init__(self, instance_id: str, pid: int | None) -> None:
        super().__init__(f"{instance_id}: already running (pid {pid or 'unknown'})")
        self.pid = pid


class IllegalTransition(GridfleetError):
    """A state machine was asked for a change that its table does not have: a bug of ours."""


class ExchangeError(GridfleetError):
    """Root of everything an exchange client raises or returns in place of a result."""


class AuthError(ExchangeError):
    """The exchange refused the credentials."""


class Retryable(ExchangeError):
    """Nothing happened on the exchange; the same call may be made after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(Retryable):
    """The exchange is there and takes nothing now: maintenance, trading paused, a closed book."""


class NotYet(Retryable):
    """An answer that proves nothing yet; other questions may be asked meanwhile."""


class RejectReason(enum.Enum):
    """Why an order was refused; each has a rule of its own in the engine."""

    POST_ONLY = "post_only"  # it would have taken: back to the plan, tried again when it would rest
    PRECISION = "precision"  # off the tick or lot: final and loud
    NOTIONAL = "notional"  # below the smallest order: final and loud
    MARGIN = "margin"  # not enough margin: entries wait, exits stay
    REDUCE_ONLY = "reduce_only"  # nothing to reduce: refresh the position first
    DUPLICATE_ID = "duplicate_id"  # this client order id was used: look it up
    MARKET = "market"  # the book takes no such orders now: entries wait, its state is looked at
    TOO_MANY_ORDERS = "too_many_orders"
    NOT_FOUND = "not_found"  # cancel of an order that does not rest any more
    OTHER = "other"


class Rejected(ExchangeError):
    """The exchange answered and refused; nothing rests there for this request."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OutcomeUnknown(ExchangeError):
    """The request may or may not have arrived; only a look-up by client order id can tell."""
