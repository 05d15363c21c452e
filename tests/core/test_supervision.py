"""The state machine: the whole table, stories, and properties over random lives."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.supervision import (
    PROMISE_MAX_S,
    backoff_delay,
    beat_age_s,
    beat_limit_s,
    decide,
    describe_exit,
)
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

NOW = 1000.0
POLICY = RestartPolicy(delay_s=5.0, finish_after_s=10.0)

STOPPED, EXITED, FATAL = State.STOPPED, State.EXITED, State.FATAL
STARTING, RUNNING, UNHEALTHY = State.STARTING, State.RUNNING, State.UNHEALTHY
STOPPING, BACKOFF, FINISHING = State.STOPPING, State.BACKOFF, State.FINISHING

CLEAN = Exited(0, OrdersLeft.NONE)
CRASH = Exited(1)
BAD_CONFIG = Exited(2, OrdersLeft.UNTOUCHED)
BAD_KEY = Exited(4)


def standing(state: State, **changes: object) -> SupervisorState:
    """Make a plausible memory for a state that is wanted up."""
    base: dict[str, object] = {"state": state, "want_up": True}
    if state.has_child:
        base["unsettled"] = True
    if state is STOPPING:
        base["cause"] = Cause.HEARTBEAT
    if state in (STARTING, STOPPING, BACKOFF, FINISHING):
        base["deadline"] = NOW
    if state is FINISHING:
        base |= {"after": BACKOFF, "respawn_at": NOW + 50, "unsettled": True}
    return replace(SupervisorState(), **{**base, **changes})  # type: ignore[arg-type]


Row = tuple[State, tuple[type, ...]]
STAY = None
TERM = (STOPPING, (Terminate,))
SPAWN = (STARTING, (Spawn,))

# One row per event, one column per state, as DESIGN.md draws it; None is "stay, do nothing".
# A crash with a delay of 5 s (shorter than finish_after) is BACKOFF without a finish step.
COLUMNS = (STOPPED, EXITED, FATAL, STARTING, RUNNING, UNHEALTHY, STOPPING, BACKOFF, FINISHING)
TABLE: dict[str, tuple[Event, tuple[Row | None, ...]]] = {
    "start": (Start(), (SPAWN, SPAWN, SPAWN, STAY, STAY, STAY, STAY, STAY, STAY)),
    "adopt": (
        Adopt(),
        (
            (RUNNING, (Watch,)),
            (RUNNING, (Watch,)),
            (RUNNING, (Watch,)),
            STAY,
            STAY,
            STAY,
            STAY,
            STAY,
            STAY,
        ),
    ),
    "stop": (
        Stop(),
        (STAY, (STOPPED, ()), (STOPPED, ()), TERM, TERM, TERM, STAY, (STOPPED, ()), STAY),
    ),
    "restart": (Restart(), (SPAWN, SPAWN, SPAWN, TERM, TERM, TERM, STAY, SPAWN, STAY)),
    "healthy": (
        Healthy(),
        (STAY, STAY, STAY, (RUNNING, ()), STAY, (RUNNING, ()), STAY, STAY, STAY),
    ),
    "degraded": (
        Degraded("503"),
        (STAY, STAY, STAY, STAY, (UNHEALTHY, ()), STAY, STAY, STAY, STAY),
    ),
    "stuck": (Stuck(), (STAY, STAY, STAY, STAY, TERM, TERM, STAY, STAY, STAY)),
    "deadline": (
        Deadline(),
        (
            STAY,
            STAY,
            STAY,
            TERM,
            STAY,
            STAY,
            (STOPPING, (Kill,)),
            SPAWN,
            (FINISHING, (KillFinish,)),
        ),
    ),
    "exit 0": (
        CLEAN,
        (
            STAY,
            STAY,
            STAY,
            (EXITED, ()),
            (EXITED, ()),
            (EXITED, ()),
            (BACKOFF, ()),
            STAY,
            STAY,
        ),
    ),
    "crash": (
        CRASH,
        (
            STAY,
            STAY,
            STAY,
            (BACKOFF, ()),
            (BACKOFF, ()),
            (BACKOFF, ()),
            (BACKOFF, ()),
            STAY,
            STAY,
        ),
    ),
    "bad config": (
        BAD_CONFIG,
        (STAY, STAY, STAY, (FATAL, ()), (FATAL, ()), (FATAL, ()), (FATAL, ()), STAY, STAY),
    ),
    "finished": (
        Finished(ok=True),
        (STAY, STAY, STAY, STAY, STAY, STAY, STAY, STAY, (BACKOFF, ())),
    ),
}

CASES = [
    pytest.param(event, state, row, id=f"{name}-{state.value}")
    for name, (event, rows) in TABLE.items()
    for state, row in zip(COLUMNS, rows, strict=True)
]


def test_a_bot_that_ended_well_says_why() -> None:
    """EXITED keeps the bot's own words; a stop that was asked for needs none."""
    event = Exited(0, OrdersLeft.NONE, words="stop_loss: 50 lost")
    after, _ = decide(standing(RUNNING, reason="slow"), event, NOW, POLICY)
    assert (after.state, after.reason) == (EXITED, "stop_loss: 50 lost")
    asked = standing(STOPPING, want_up=False, cause=Cause.STOP)
    after, _ = decide(asked, replace(event, words="stop"), NOW, POLICY)
    assert (after.state, after.reason) == (STOPPED, "")


def test_the_table_has_every_state_and_every_kind_of_event() -> None:
    """S29: no pair of state and event is left without a row."""
    assert set(COLUMNS) == set(State)
    kinds = {type(event) for event, _ in TABLE.values()}
    assert kinds == set(Event.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("event", "state", "expected"), CASES)
def test_every_pair_has_the_answer_of_the_design(
    event: Event, state: State, expected: Row | None
) -> None:
    """Each cell of the table: the next state and the kinds of actions."""
    before = standing(state)
    after, actions = decide(before, event, NOW, POLICY)
    wanted_state, wanted_actions = expected if expected is not None else (state, ())
    assert (after.state, tuple(type(a) for a in actions)) == (wanted_state, wanted_actions)


@pytest.mark.parametrize("state", [STARTING, RUNNING, UNHEALTHY])
def test_a_crash_after_a_stop_was_asked_comes_to_rest(state: State) -> None:
    """FAILURES 14: any exit in STOPPING, a permanent one too, ends in STOPPED, finished."""
    stopping, _ = decide(standing(state), Stop(), NOW, POLICY)
    for event in (CRASH, BAD_KEY, Exited(None)):
        after, actions = decide(stopping, event, NOW, POLICY)
        assert (after.state, actions) == (FINISHING, (StartFinish(),))
        assert decide(after, Finished(ok=True), NOW, POLICY)[0].state is STOPPED
    assert decide(stopping, CLEAN, NOW, POLICY)[0].state is STOPPED


# Stories ------------------------------------------------------------------------------------------


def live(
    policy: RestartPolicy, history: list[tuple[float, Event]]
) -> tuple[SupervisorState, list[tuple[State, tuple[Action, ...]]]]:
    """Feed a history and return the last memory and each step's state and actions."""
    s, steps = SupervisorState(), []
    for now, event in history:
        s, actions = decide(s, event, now, policy)
        steps.append((s.state, actions))
    return s, steps


def test_backoff_doubles_to_the_cap_and_the_limit_ends_in_fatal() -> None:
    """5 s, 10 s, 12 s (the cap), then the fourth failure in the window is FATAL."""
    policy = replace(POLICY, delay_max_s=12.0, max_restarts=3, finish_after_s=60.0)
    s, now, delays = SupervisorState(), 0.0, []
    s, _ = decide(s, Start(), now, policy)
    for _ in range(3):
        s, _ = decide(s, CRASH, now, policy)
        assert s.deadline is not None
        delays.append(s.deadline - now)
        now = s.deadline
        s, actions = decide(s, Deadline(), now, policy)
        assert actions == (Spawn(),)
    assert delays == [5.0, 10.0, 12.0]
    s, actions = decide(s, CRASH, now, policy)
    assert (s.state, actions) == (FINISHING, (StartFinish(),))
    s, _ = decide(s, Finished(ok=True), now, policy)
    assert s.state is FATAL
    assert "3 restarts within 3600 s" in s.reason
    assert s.want_up


def test_restarts_outside_the_window_do_not_count() -> None:
    """S12: the window slides; a failure an hour later finds a fresh budget."""
    policy = replace(POLICY, max_restarts=1, window_s=100.0)
    s = standing(RUNNING, restarts=(0.0,))
    assert decide(s, CRASH, 99.0, policy)[0].after is FATAL
    assert decide(s, CRASH, 101.0, policy)[0].state is BACKOFF


def test_the_delay_is_forgotten_after_health() -> None:
    """S12: after `healthy_after` of health the next failure waits the first delay again."""
    s = standing(RUNNING, streak=3, healthy_since=NOW)
    soon, _ = decide(s, CRASH, NOW + 599, POLICY)
    later, _ = decide(s, CRASH, NOW + 600, POLICY)
    assert soon.streak == 4
    assert later.streak == 1
    assert later.deadline == NOW + 600 + 5.0
    unhealthy, _ = decide(s, Degraded(), NOW + 700, POLICY)
    assert unhealthy.streak == 0


def test_delay_zero_is_at_once_always_and_still_counts() -> None:
    """S11: no delay, no doubling, but the limit applies to exits at any age."""
    policy = replace(POLICY, delay_s=0.0, max_restarts=3)
    s, _ = decide(SupervisorState(), Start(), NOW, policy)
    for _ in range(3):
        s, actions = decide(s, CRASH, NOW, policy)
        assert (s.state, actions) == (STARTING, (Spawn(),))
    s, _ = decide(s, CRASH, NOW, policy)
    assert s.after is FATAL


def test_a_long_delay_runs_the_finish_step_first() -> None:
    """No successor within finish_after: the orders are finished, then the wait goes on."""
    policy = replace(POLICY, delay_s=60.0)
    s, actions = decide(standing(RUNNING), CRASH, NOW, policy)
    assert (s.state, actions) == (FINISHING, (StartFinish(),))
    waiting, actions = decide(s, Finished(ok=True), NOW + 3, policy)
    assert (waiting.state, waiting.deadline, actions) == (BACKOFF, NOW + 60, ())
    late, actions = decide(s, Finished(ok=False), NOW + 70, policy)
    assert (late.state, actions) == (STARTING, (Spawn(),))


def test_what_never_touched_an_order_needs_no_finish_step() -> None:
    """A taken port or a bad config ends before the bot trades; what was settled stays settled."""
    policy = replace(POLICY, delay_s=60.0)
    started, _ = decide(SupervisorState(), Start(), NOW, policy)
    port_taken, actions = decide(started, Exited(6, OrdersLeft.UNTOUCHED), NOW, policy)
    assert (port_taken.state, actions) == (BACKOFF, ())
    old_orders = replace(started, was_unsettled=True)
    assert decide(old_orders, BAD_CONFIG, NOW, policy)[0].state is FINISHING


def test_a_foreign_program_is_never_finished() -> None:
    """Only our bot knows --cancel-orders."""
    policy = replace(POLICY, delay_s=60.0, can_finish=False)
    assert decide(standing(RUNNING), CRASH, NOW, policy)[0].state is BACKOFF
    assert decide(standing(RUNNING), BAD_KEY, NOW, policy)[0].state is FATAL


def test_stop_keeping_orders_skips_the_finish_step() -> None:
    """--keep-orders: told to the bot, and nobody cancels after it."""
    stopping, actions = decide(standing(RUNNING), Stop(keep_orders=True), NOW, POLICY)
    assert actions == (Terminate(Cause.STOP, keep_orders=True),)
    assert decide(stopping, Exited(0, OrdersLeft.MAYBE), NOW, POLICY)[0].state is STOPPED


def test_a_stop_that_overtakes_a_restart_finishes_the_kept_orders() -> None:
    """The bot was told to keep its orders for a successor that will not come."""
    restarting, actions = decide(standing(RUNNING), Restart(), NOW, POLICY)
    assert actions == (Terminate(Cause.RESTART, keep_orders=True),)
    stopping, actions = decide(restarting, Stop(), NOW, POLICY)
    assert actions == ()
    after, actions = decide(stopping, Exited(0, OrdersLeft.MAYBE), NOW, POLICY)
    assert (after.state, after.after, actions) == (FINISHING, STOPPED, (StartFinish(),))


def test_a_start_during_a_stop_is_not_lost() -> None:
    """S30: the successor follows as soon as the old child is gone, at no cost to the budget."""
    stopping, _ = decide(standing(RUNNING), Stop(), NOW, POLICY)
    wanted, actions = decide(stopping, Start(), NOW, POLICY)
    assert actions == ()
    after, actions = decide(wanted, CLEAN, NOW, POLICY)
    assert (after.state, actions, after.restarts) == (STARTING, (Spawn(),), ())


def test_a_start_during_the_last_finish_step_follows_it() -> None:
    """FINISHING on its way to rest turns round when somebody wants it up."""
    finishing = standing(FINISHING, after=STOPPED, respawn_at=None, want_up=False)
    wanted, _ = decide(finishing, Start(), NOW, POLICY)
    after, actions = decide(wanted, Finished(ok=True), NOW + 1, POLICY)
    assert (after.state, actions) == (STARTING, (Spawn(),))


def test_stop_over_a_dead_bot_finishes_first() -> None:
    """FATAL or STOPPED with orders that may rest: the finish step, then STOPPED."""
    for state in (FATAL, STOPPED, BACKOFF):
        after, actions = decide(standing(state, unsettled=True), Stop(), NOW, POLICY)
        assert (after.state, actions) == (FINISHING, (StartFinish(),))
        done, _ = decide(after, Finished(ok=False), NOW, POLICY)
        assert (done.state, done.unsettled) == (STOPPED, True)


def test_permanent_exits_are_never_retried_by_themselves() -> None:
    """2 and 4 end in FATAL even with a slow retry configured; a user's start tries again."""
    policy = replace(POLICY, fatal_retry_s=60.0, can_finish=False)
    for event in (BAD_CONFIG, BAD_KEY):
        s, _ = decide(standing(STARTING), event, NOW, policy)
        assert (s.state, s.deadline, s.permanent) == (FATAL, None, True)
        assert decide(s, Deadline(), NOW + 60, policy) == (s, ())
        assert decide(s, Start(), NOW, policy)[1] == (Spawn(),)


def test_a_slow_retry_leads_out_of_give_up() -> None:
    """S10: FATAL by limit tries once every fatal_retry_interval."""
    policy = replace(POLICY, fatal_retry_s=60.0, max_restarts=0, can_finish=False)
    s, _ = decide(standing(RUNNING), CRASH, NOW, policy)
    assert (s.state, s.deadline) == (FATAL, NOW + 60)
    s, actions = decide(s, Deadline(), NOW + 60, policy)
    assert (s.state, actions) == (STARTING, (Spawn(),))
    s, _ = decide(s, CRASH, NOW + 61, policy)
    assert (s.state, s.deadline) == (FATAL, NOW + 121)


def test_auto_restart_false_gives_up_at_the_first_crash() -> None:
    """Nobody wants a restart: the reason says so."""
    policy = replace(POLICY, auto_restart=False, can_finish=False, fatal_retry_s=1.0)
    s, _ = decide(standing(RUNNING), CRASH, NOW, policy)
    assert (s.state, s.deadline) == (FATAL, None)
    assert "auto_restart is false" in s.reason


def test_a_user_restart_costs_no_budget_and_waits_for_nothing() -> None:
    """Even a kill at the end of its patience is a restart that was asked for."""
    policy = replace(POLICY, max_restarts=0)
    s, _ = decide(standing(RUNNING), Restart(), NOW, policy)
    s, actions = decide(s, Exited(-9), NOW, policy)
    assert (s.state, actions, s.total_restarts) == (STARTING, (Spawn(),), 1)


def test_a_restart_for_health_goes_through_the_budget() -> None:
    """A stale beat is a failure like any other."""
    s, actions = decide(standing(RUNNING), Stuck(Cause.HEARTBEAT, "old beat"), NOW, POLICY)
    assert actions == (Terminate(Cause.HEARTBEAT, keep_orders=True),)
    s, _ = decide(s, Exited(0, OrdersLeft.MAYBE), NOW, POLICY)
    assert (s.state, len(s.restarts)) == (BACKOFF, 1)


@pytest.mark.parametrize(
    ("streak", "jitter", "expected"),
    [(0, 0.0, 60.0), (0, 0.5, 63.0), (1, 0.0, 120.0), (4, 0.0, 900.0), (4, 0.9, 900.0)],
)
def test_jitter_adds_at_most_a_tenth_below_the_cap(
    streak: int, jitter: float, expected: float
) -> None:
    """Five bots that died together do not come back together."""
    assert backoff_delay(streak, jitter, RestartPolicy()) == pytest.approx(expected)


def test_a_huge_streak_stays_at_the_cap() -> None:
    """A year of failures is still one cap."""
    assert backoff_delay(10**6, 0.0, RestartPolicy()) == 900.0


def test_the_beat_limit_has_a_floor() -> None:
    """A short interval must not restart a bot on a busy machine."""
    assert beat_limit_s(30.0, 3) == 90.0
    assert beat_limit_s(0.1, 3) == 3.0


@pytest.mark.parametrize(
    ("mono", "until", "now", "age"),
    [
        (100.0, 100.0, 106.0, 6.0),  # no wait announced
        (100.0, 148.0, 106.0, -42.0),  # within the wait it is not late, whatever the limit
        (100.0, 148.0, 148.0, 0.0),
        (100.0, 148.0, 154.5, 6.5),  # the wait ought to have ended: stuck within it
        (100.0, 90.0, 106.0, 6.0),  # nothing is promised about the past
        (100.0, float("nan"), 106.0, 6.0),
        (100.0, float("inf"), 100.0 + PROMISE_MAX_S + 7.0, 7.0),  # nobody waits for ever
    ],
)
def test_a_beat_ages_from_the_end_of_the_wait_that_it_announced(
    mono: float, until: float, now: float, age: float
) -> None:
    """A silent exchange never makes a beat too old; a thread that hangs does."""
    assert beat_age_s(mono, until, now) == age


def test_an_exit_is_described_for_a_reader() -> None:
    """Codes, signals and the unknown."""
    assert [describe_exit(code) for code in (3, -9, None)] == [
        "exit code 3",
        "killed by signal 9",
        "ended, exit code unknown",
    ]


# Properties ---------------------------------------------------------------------------------------

POLICIES = st.builds(
    RestartPolicy,
    auto_restart=st.booleans(),
    max_restarts=st.integers(0, 4),
    delay_s=st.sampled_from([0.0, 1.0, 30.0]),
    window_s=st.sampled_from([10.0, 3600.0]),
    delay_max_s=st.sampled_from([1.0, 900.0]),
    healthy_after_s=st.sampled_from([0.0, 600.0]),
    fatal_retry_s=st.sampled_from([None, 5.0]),
    finish_after_s=st.sampled_from([0.0, 10.0]),
    can_finish=st.booleans(),
)
ASKS = st.sampled_from(
    [Start(), Stop(), Stop(keep_orders=True), Restart(), Healthy(), Degraded("x"), Stuck()]
)
ENDS = st.builds(
    Exited,
    st.sampled_from([0, 1, 2, 4, 6, -9, None]),
    st.sampled_from(list(OrdersLeft)),
    st.floats(0, 0.99),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "end", "finish", "time", "adopt"]), ASKS, ENDS, st.booleans()
    ),
    min_size=30,  # short lives meet no second order in the midst of a first
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(policy=POLICIES, steps=STEPS)
def test_random_lives_never_hold_two_children(
    policy: RestartPolicy, steps: list[tuple[str, Event, Exited, bool]]
) -> None:
    """S29: alive exactly in four states, a finish step exactly in FINISHING, never both."""
    s, now = SupervisorState(), 0.0
    child = finish = False
    for kind, ask, end, ok in steps:
        now += 0.5
        match kind:
            case "ask":
                event = ask
            case "end":
                event = end
                if child:  # the loop reports an exit once, of a child that lived
                    child = False
                else:
                    assert decide(s, event, now, policy) == (s, ())
                    continue
            case "finish":
                if not finish:
                    continue
                finish, event = False, Finished(ok)
            case "adopt":
                if child or finish:
                    continue
                event = Adopt()
            case _:
                if s.deadline is None:
                    continue
                now, event = max(now, s.deadline), Deadline()
        s, actions = decide(s, event, now, policy)
        for action in actions:
            match action:
                case Spawn() | Watch():
                    assert not child
                    assert not finish
                    child = True
                case Terminate() | Kill():
                    assert child
                case StartFinish():
                    assert policy.can_finish
                    assert not child
                    assert not finish
                    finish = True
                case KillFinish():
                    assert finish
        assert child == s.state.has_child
        assert finish == (s.state is FINISHING)
        assert (s.deadline is not None) or s.state not in (STARTING, STOPPING, BACKOFF, FINISHING)
        assert s.healthy_since is None or s.state is RUNNING
        if s.state is EXITED or (s.state is STOPPED and kind == "ask"):
            assert not s.want_up
        assert len(s.restarts) <= max(policy.max_restarts, 0)


@settings(max_examples=80, deadline=None)
@given(policy=POLICIES, crashes=st.lists(st.floats(0.0, 50.0), max_size=30))
def test_no_window_ever_holds_more_restarts_than_allowed(
    policy: RestartPolicy, crashes: list[float]
) -> None:
    """S13: whatever the timing, a crash loop is bounded by the budget."""
    policy = replace(policy, can_finish=False, fatal_retry_s=None)
    s, _ = decide(SupervisorState(), Start(), 0.0, policy)
    now, spawned = 0.0, []
    for age in crashes:
        if not s.state.has_child:
            break
        now += age
        s, _ = decide(s, CRASH, now, policy)
        if s.state is BACKOFF and s.deadline is not None:
            spawned.append(now)
            now = s.deadline
            s, _ = decide(s, Deadline(), now, policy)
        elif s.state is STARTING:
            spawned.append(now)
    for moment in spawned:
        recent = [t for t in spawned if moment - policy.window_s < t <= moment]
        assert len(recent) <= policy.max_restarts


def test_every_stop_ends_at_rest_from_everywhere() -> None:
    """From any state, stop and the exits it causes lead to STOPPED, whatever happens between."""
    between: tuple[Event, ...] = (Healthy(), Degraded(), Stuck(), Deadline())
    for state, event in itertools.product(State, between):
        s, _ = decide(standing(state), Stop(), NOW, POLICY)
        s, _ = decide(s, event, NOW, POLICY)
        if s.state.has_child:
            s, _ = decide(s, Exited(-9), NOW, POLICY)
        if s.state is FINISHING:
            s, _ = decide(s, Finished(ok=True), NOW, POLICY)
        assert s.state is STOPPED, (state, event)
