"""What a listening page is told, how often, and that nothing runs while nobody listens."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

from fakes_web import FakeBot, make_fill, make_levels, make_snapshot, wait_until

from core.model import Check, Quote, RunState, Snapshot
from web.instance import Instance
from web.push import Publisher, changes
from web.settings import WebSettings

SETTINGS = WebSettings(instance_id="bp_sol_01", host="127.0.0.1", port=5001)


def told(previous: Snapshot, current: Snapshot) -> list[str]:
    return [event for event, _ in changes(previous, current, dict)]


def moved_quote(snapshot: Snapshot, price: str) -> Quote:
    assert snapshot.quote is not None
    return replace(snapshot.quote, last=Decimal(price), mark=Decimal(price))


def test_only_what_changed_is_told() -> None:
    """A table of changes and the events they make."""
    before = make_snapshot()
    assert before.grid is not None
    grid = replace(before.grid, lower=Decimal(130), version=2)
    levels = make_levels(Decimal(130), Decimal(160), 21, Decimal(150))
    table: list[tuple[dict[str, Any], list[str]]] = [
        ({}, []),
        ({"seq": 2}, []),
        ({"time": before.started_at}, []),
        ({"quote": moved_quote(before, "150.08")}, ["stats_update"]),
        ({"closed_cells": 97}, ["stats_update"]),
        ({"state": RunState.PAUSED}, ["status_update"]),
        ({"alerts": ("a fire",)}, ["status_update"]),
        ({"entries_frozen": "data is stale"}, ["status_update"]),
        ({"checks": (Check(name="feed", ok=False, age_s=1),)}, ["status_update"]),
        ({"levels": levels}, ["status_update"]),
        ({"grid": grid, "levels": levels}, ["grid_adjusted", "status_update"]),
        ({"recent_fills": (*before.recent_fills, make_fill(200))}, ["fill"]),
        (
            {
                "recent_fills": (*before.recent_fills, make_fill(200), make_fill(201)),
                "fill_count": 202,
            },
            ["fill", "fill", "stats_update"],
        ),
    ]
    for change, events in table:
        assert told(before, replace(before, **change)) == events, change


def test_ages_of_checks_alone_are_no_news() -> None:
    """A check that grows older without another verdict wakes no page."""
    before = make_snapshot()
    older = tuple(replace(check, age_s=99.0) for check in before.checks)
    assert told(before, replace(before, checks=older)) == []


def test_new_fills_are_told_oldest_first_whatever_order_they_stand_in() -> None:
    """The page puts each one on top."""
    before = make_snapshot(recent_fills=())
    after = replace(before, recent_fills=(make_fill(3), make_fill(1), make_fill(2)))
    documents = [document for _, document in changes(before, after, dict)]
    assert [document["trade_id"] for document in documents] == ["t1", "t2", "t3"]


def test_levels_are_sent_only_when_they_changed() -> None:
    """200 levels are 20 kB: a change of state goes without them."""
    before = make_snapshot()
    (event,) = changes(before, replace(before, state=RunState.PAUSED), dict)
    assert "levels" not in event[1]
    levels = make_levels(Decimal(140), Decimal(160), 11, Decimal(150))
    (event,) = changes(before, replace(before, levels=levels), dict)
    assert len(event[1]["levels"]) == 11


class Ears:
    """An `emit` that keeps what it was given, and can be slow."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any, str | None]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, event: str, document: Any, listener: str | None) -> None:
        self.gate.wait(10)
        self.heard.append((event, document, listener))

    def names(self) -> list[str]:
        return [event for event, _, _ in self.heard]


def make_publisher(bot: FakeBot, ears: Ears, min_interval_s: float = 0.0) -> Publisher:
    publisher = Publisher(Instance(bot, SETTINGS), min_interval_s)
    bot.notify = publisher.notify
    publisher.start(ears)
    return publisher


def test_nothing_wakes_while_nobody_listens() -> None:
    """A thousand snapshots without a page cost not one turn of the thread."""
    bot, ears = FakeBot(), Ears()
    publisher = make_publisher(bot, ears)
    for _ in range(1000):
        bot.publish()
    assert publisher.wakeups == 0
    assert ears.heard == []
    publisher.add("page")
    wait_until(lambda: publisher.wakeups == 1, "the thread has turned once")
    publisher.remove("page")
    for _ in range(1000):
        bot.publish()
    publisher.stop()
    assert publisher.wakeups == 1


def test_a_new_page_is_told_everything_and_only_it() -> None:
    """The whole status with all levels goes to the one that came; nothing old is told again."""
    bot, ears = FakeBot(), Ears()
    publisher = make_publisher(bot, ears)
    bot.publish(fill_count=500, recent_fills=(make_fill(499),))
    publisher.add("page")
    event, document, listener = ears.heard[0]
    assert (event, listener) == ("status_update", "page")
    assert len(document["levels"]) == 21
    assert document["fills"] == 500
    bot.publish(closed_cells=97)
    wait_until(lambda: len(ears.heard) == 2, "the change is told")
    assert ears.heard[1][0] == "stats_update"
    assert ears.heard[1][2] is None
    publisher.stop()


def test_a_fast_market_is_throttled_and_its_last_state_arrives() -> None:
    """500 snapshots within an interval make a handful of messages; the newest is among them."""
    bot, ears = FakeBot(), Ears()
    publisher = make_publisher(bot, ears, min_interval_s=0.1)
    publisher.add("page")
    began = time.monotonic()
    for index in range(500):
        bot.publish(closed_cells=1000 + index)
    took = time.monotonic() - began
    wait_until(lambda: ears.heard[-1][1]["closed_cells"] == 1499, "the last state is told")
    assert len(ears.heard) <= 4 + took / 0.1
    publisher.stop()


def test_a_slow_page_never_blocks_the_engine() -> None:
    """While sending stands still, publishing goes on at once."""
    bot, ears = FakeBot(), Ears()
    publisher = make_publisher(bot, ears)
    publisher.add("page")
    ears.gate.clear()
    bot.publish(closed_cells=97)
    for _ in range(1000):
        bot.publish()
    assert "stats_update" not in ears.names(), "it stands still until now"
    ears.gate.set()
    wait_until(lambda: "stats_update" in ears.names(), "it goes on")
    publisher.stop()
