"""The supervisor's state machine and its health judgement, as values in and values out.

What lives here: `decide`, which answers every (state, event) pair, and the few formulas around
it; the words are in `core.supervision_types`. It reads no clock, file or socket; `now` is
monotonic seconds and randomness arrives on the event that needs it.

Rules it keeps:
- what is wanted (`want_up`) stands apart from what is (`state`);
- a child is alive exactly in STARTING, RUNNING, UNHEALTHY and STOPPING, a finish step runs
  exactly in FINISHING, and the two never overlap;
- there is one timer: `deadline`. Whoever changes the state sets or clears it;
- exits 2 and 4 are permanent; every other failure goes through the restart budget, at any age;
- orders that a dead bot may have left (`unsettled`) are finished before the instance rests.

Theory. A restart is allowed while fewer than `max_restarts` lie within `window_s`; its delay
doubles with each failure in a row, up to `delay_max_s`, and is forgotten after `healthy_after_s`
of health. A delay of 0 means at once, always. When the delay is longer than `finish_after_s` no
successor will look after the orders in time, so the finish step runs at the beginning of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from core.errors import PERMANENT_EXIT_CODES, ExitCode
from core.supervision_types import (
    Action,
    Adopt,
    Cause,
    Deadline,
    Degraded,
    Event,
    Exited,
    Finished,
    Healthy,
    Kill,
    KillFinish,
    OrdersLeft,
    Restart,
    RestartPolicy,
    Spawn,
    Start,
    StartFinish,
    State,
    Stop,
    Stuck,
    SupervisorState,
    Terminate,
    Watch,
)

Decision = tuple[SupervisorState, tuple[Action, ...]]


def decide(s: SupervisorState, event: Event, now: float, policy: RestartPolicy) -> Decision:
    """Answer one event: the next state and the actions that carry it out, in order."""
    match event:
        case Start():
            return _on_start(s, now, policy)
        case Adopt():
            return _on_adopt(s, now)
        case Stop():
            return _on_stop(s, event, now, policy)
        case Restart():
            return _on_restart(s, now, policy)
        case Healthy():
            return _on_healthy(s, now)
        case Degraded():
            return _on_degraded(s, event, now, policy)
        case Stuck():
            if s.state in (State.RUNNING, State.UNHEALTHY):
                return _terminate(s, event.cause, now, policy, reason=event.reason)
            return s, ()
        case Deadline():
            return _on_deadline(s, now, policy)
        case Exited():
            return _on_exited(s, event, now, policy)
        case Finished():
            return _on_finished(s, event, now, policy)
        case _:
            assert_never(event)


def _on_start(s: SupervisorState, now: float, policy: RestartPolicy) -> Decision:
    if s.state.is_rest:
        fresh = replace(s, want_up=True, restarts=(), streak=0, permanent=False)
        return _spawn(fresh, now, policy)
    if s.state is State.STOPPING and s.cause is Cause.STOP:
        # S30: a command is never dropped; the successor follows as soon as this one is gone.
        return replace(s, want_up=True, cause=Cause.RESTART), ()
    if s.state is State.FINISHING and s.after is not State.BACKOFF:
        return replace(s, want_up=True, after=State.BACKOFF, respawn_at=now), ()
    return replace(s, want_up=True), ()


def _on_adopt(s: SupervisorState, now: float) -> Decision:
    if not s.state.is_rest:
        return s, ()
    adopted = replace(
        s,
        state=State.RUNNING,
        want_up=True,
        deadline=None,
        healthy_since=now,
        unsettled=True,
        was_unsettled=True,
        reason="adopted",
    )
    return adopted, (Watch(),)


def _on_stop(s: SupervisorState, event: Stop, now: float, policy: RestartPolicy) -> Decision:
    down = replace(s, want_up=False, keep_orders=event.keep_orders)
    match s.state:
        case State.STARTING | State.RUNNING | State.UNHEALTHY:
            return _terminate(down, Cause.STOP, now, policy)
        case State.STOPPING:
            # It was told why when it was TERMed; orders that it keeps are finished after its exit.
            return down, ()
        case State.FINISHING:
            return replace(down, after=State.STOPPED, respawn_at=None), ()
        case State.BACKOFF | State.STOPPED | State.EXITED | State.FATAL:
            return _rest(down, State.STOPPED, now, policy, reason="")
        case _:
            assert_never(s.state)


def _on_restart(s: SupervisorState, now: float, policy: RestartPolicy) -> Decision:
    match s.state:
        case State.STARTING | State.RUNNING | State.UNHEALTHY:
            return _terminate(replace(s, want_up=True), Cause.RESTART, now, policy)
        case State.STOPPING:
            return replace(s, want_up=True, cause=Cause.RESTART), ()
        case State.FINISHING:
            return replace(s, want_up=True, after=State.BACKOFF, respawn_at=now), ()
        case State.BACKOFF:
            return _spawn(replace(s, total_restarts=s.total_restarts + 1), now, policy)
        case State.STOPPED | State.EXITED | State.FATAL:
            return _on_start(s, now, policy)
        case _:
            assert_never(s.state)


def _on_healthy(s: SupervisorState, now: float) -> Decision:
    if s.state in (State.STARTING, State.UNHEALTHY):
        up = replace(s, state=State.RUNNING, deadline=None, healthy_since=now, reason="")
        return up, ()
    return s, ()


def _on_degraded(
    s: SupervisorState, event: Degraded, now: float, policy: RestartPolicy
) -> Decision:
    if s.state is State.RUNNING:
        s = _forget_if_healthy(s, now, policy)
        return replace(s, state=State.UNHEALTHY, healthy_since=None, reason=event.reason), ()
    if s.state is State.UNHEALTHY:
        return replace(s, reason=event.reason), ()
    return s, ()


def _on_deadline(s: SupervisorState, now: float, policy: RestartPolicy) -> Decision:
    match s.state:
        case State.STARTING:
            reason = f"not ready within {policy.startup_timeout_s:g} s"
            return _terminate(s, Cause.STARTUP, now, policy, reason=reason)
        case State.STOPPING:
            return replace(s, deadline=now + policy.kill_wait_s), (Kill(),)
        case State.BACKOFF:
            return _spawn(replace(s, total_restarts=s.total_restarts + 1), now, policy)
        case State.FATAL if s.want_up and not s.permanent and policy.fatal_retry_s is not None:
            return _spawn(replace(s, total_restarts=s.total_restarts + 1), now, policy)
        case State.FINISHING:
            return replace(s, deadline=now + policy.kill_wait_s), (KillFinish(),)
        case _:
            return s, ()


def _on_exited(s: SupervisorState, event: Exited, now: float, policy: RestartPolicy) -> Decision:
    if not s.state.has_child:
        return s, ()
    s = _forget_if_healthy(s, now, policy)
    unsettled = {
        OrdersLeft.NONE: False,
        OrdersLeft.MAYBE: True,
        OrdersLeft.UNTOUCHED: s.was_unsettled,
    }[event.orders]
    s = replace(s, exit_code=event.code, unsettled=unsettled, healthy_since=None, deadline=None)
    permanent = event.code in PERMANENT_EXIT_CODES
    if s.state is State.STOPPING:
        if not s.want_up:
            return _rest(s, State.STOPPED, now, policy, reason="")
        if permanent:
            return _permanent(s, event, now, policy)
        if s.cause is not None and s.cause.is_asked:
            return _spawn(replace(s, total_restarts=s.total_restarts + 1), now, policy)
        return _budget(s, event, now, policy)
    if event.code == ExitCode.OK:
        return _rest(replace(s, want_up=False), State.EXITED, now, policy, reason=event.words)
    if permanent:
        return _permanent(s, event, now, policy)
    s = replace(s, reason=describe_exit(event.code, event.words))
    return _budget(s, event, now, policy)


def _on_finished(
    s: SupervisorState, event: Finished, now: float, policy: RestartPolicy
) -> Decision:
    if s.state is not State.FINISHING:
        return s, ()
    s = replace(s, unsettled=not event.ok, deadline=None)
    after = s.after or State.STOPPED
    if after is not State.BACKOFF:
        return _arrive(s, after, now, policy), ()
    respawn_at = now if s.respawn_at is None else s.respawn_at
    if respawn_at <= now:
        return _spawn(replace(s, total_restarts=s.total_restarts + 1), now, policy)
    return replace(s, state=State.BACKOFF, deadline=respawn_at, after=None, respawn_at=None), ()


# The few moves that the answers above are made of -----------------------------------------------


def _spawn(s: SupervisorState, now: float, policy: RestartPolicy) -> Decision:
    started = replace(
        s,
        state=State.STARTING,
        deadline=now + policy.startup_timeout_s,
        healthy_since=None,
        cause=None,
        keep_orders=False,
        was_unsettled=s.unsettled,
        unsettled=True,
        after=None,
        respawn_at=None,
    )
    return started, (Spawn(),)


def _terminate(
    s: SupervisorState, cause: Cause, now: float, policy: RestartPolicy, reason: str = ""
) -> Decision:
    s = replace(
        _forget_if_healthy(s, now, policy),
        state=State.STOPPING,
        cause=cause,
        deadline=now + policy.stop_timeout_s,
        healthy_since=None,
        reason=reason or s.reason,
    )
    keep_orders = s.keep_orders if cause is Cause.STOP else True
    return s, (Terminate(cause, keep_orders),)


def _permanent(s: SupervisorState, event: Exited, now: float, policy: RestartPolicy) -> Decision:
    reason = f"{describe_exit(event.code, event.words)}; not retried"
    return _rest(replace(s, permanent=True), State.FATAL, now, policy, reason=reason)


def _budget(s: SupervisorState, event: Exited, now: float, policy: RestartPolicy) -> Decision:
    recent = tuple(t for t in s.restarts if t > now - policy.window_s)
    if not policy.auto_restart or len(recent) >= policy.max_restarts:
        why = (
            "auto_restart is false"
            if not policy.auto_restart
            else f"{len(recent)} restarts within {policy.window_s:g} s"
        )
        s = replace(s, restarts=recent, permanent=not policy.auto_restart)
        return _rest(s, State.FATAL, now, policy, reason=f"{s.reason}; {why}".lstrip("; "))
    delay = backoff_delay(s.streak, event.jitter, policy)
    s = replace(s, restarts=(*recent, now), streak=s.streak + 1)
    if delay <= 0:
        return _spawn(replace(s, total_restarts=s.total_restarts + 1), now, policy)
    if s.unsettled and policy.can_finish and delay > policy.finish_after_s:
        return _finish(replace(s, respawn_at=now + delay), State.BACKOFF, now, policy)
    return replace(s, state=State.BACKOFF, deadline=now + delay), ()


def _rest(
    s: SupervisorState, target: State, now: float, policy: RestartPolicy, *, reason: str
) -> Decision:
    """Come to rest in `target`, with the finish step first when orders may be left."""
    s = replace(s, reason=reason)
    if s.unsettled and policy.can_finish and not s.keep_orders:
        return _finish(s, target, now, policy)
    return _arrive(s, target, now, policy), ()


def _finish(s: SupervisorState, after: State, now: float, policy: RestartPolicy) -> Decision:
    finishing = replace(
        s, state=State.FINISHING, after=after, deadline=now + policy.finish_timeout_s
    )
    return finishing, (StartFinish(),)


def _arrive(
    s: SupervisorState, target: State, now: float, policy: RestartPolicy
) -> SupervisorState:
    retry = (
        now + policy.fatal_retry_s
        if target is State.FATAL and not s.permanent and policy.fatal_retry_s is not None
        else None
    )
    return replace(s, state=target, deadline=retry, cause=None, after=None, respawn_at=None)


def _forget_if_healthy(s: SupervisorState, now: float, policy: RestartPolicy) -> SupervisorState:
    if s.healthy_since is not None and now - s.healthy_since >= policy.healthy_after_s:
        return replace(s, streak=0)
    return s


def backoff_delay(streak: int, jitter: float, policy: RestartPolicy) -> float:
    """Seconds before the next restart after `streak` earlier failures in a row; 0 stays 0."""
    cap = max(policy.delay_max_s, policy.delay_s)
    # 2**32 times the smallest delay is beyond any cap; the bound keeps the float finite.
    delay = min(cap, policy.delay_s * 2.0 ** min(streak, 32))
    return min(cap, delay * (1.0 + jitter / 10.0))


def exit_code(s: SupervisorState, *, is_detached: bool) -> int:
    """Give what `--foreground` ends with (CONTRACT 3)."""
    match s.state:
        case State.STOPPED | State.EXITED:
            return ExitCode.OK
        case State.FATAL if s.exit_code in PERMANENT_EXIT_CODES:
            return int(s.exit_code or 0)
        case State.FATAL:
            return ExitCode.FATAL_LIMIT
        case _:
            return ExitCode.OK if is_detached else ExitCode.FAILED


def describe_exit(code: int | None, words: str = "") -> str:
    """Say how a child ended, e.g. `exit code 3: a bug` or `killed by signal 9`."""
    if code is None:
        how = "ended, exit code unknown"
    else:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how}: {words}" if words else how


# Health judgement -------------------------------------------------------------------------------


PROMISE_MAX_S = 1200.0
"""More than any wait for an exchange can last; see `exchanges.transport`."""


def beat_limit_s(interval_s: float, failures: int) -> float:
    """How old a beat may be: `failures` intervals, at least 3 s so that a busy host passes."""
    return max(3.0, interval_s * failures)


def beat_age_s(mono: float, until: float, now: float) -> float:
    """How long a child has been silent: since its beat, or since the wait it announced must end.

    So a silent exchange, however slow its time-outs, ages no beat (CONTRACT 7); a thread that
    hangs within a wait is still found. A promise beyond `PROMISE_MAX_S` is a fault, not believed;
    one that is no number neither.
    """
    promised = min(until, mono + PROMISE_MAX_S) if until > mono else mono
    return now - max(mono, promised)


def probe_interval_s(base_s: float, timeout_s: float, failed_in_a_row: int) -> float:
    """Seconds until the next probe: soon after a failure, at the set pace otherwise."""
    return base_s if failed_in_a_row == 0 else min(base_s, max(1.0, timeout_s))


def starting_interval_s(age_s: float) -> float:
    """Seconds until the next readiness probe of a child of that age: 0.03 s growing to 1 s."""
    return min(1.0, max(0.03, age_s / 8.0))
