"""The journal: state is the fold over it, and a checkpoint brings it back whole (I12)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from fakes import EPOCH, Fault
from grid_world import World, make_settings

from core.errors import IllegalTransition, OutcomeUnknown, StoreError
from core.model import AdjustGrid, GridMode, GridType, LotsPolicy, Pause
from database.db import Database
from strategies import ledger as ledger_module
from strategies.boundary import Zone
from strategies.journal import Book, PendingAdjust, apply, decode_book, encode_book

D = Decimal


def rich_world() -> World:
    """A grid with lots in parts, a carried lot, funding, a pause and an adjust under way."""
    world = World(make_settings(kind=GridType.LONG, mode=GridMode.GEOMETRIC, num=6), 106)
    world.go(101)
    exit_ = next(o for o in world.own() if o.reduce_only)
    world.exchange.last = exit_.price
    world.exchange.fill(exit_.client_order_id, D("0.333"))
    world.settle()
    world.clock.advance(10)
    world.exchange.pay_funding("0.0001")
    world.adjust(90, 101, 5)
    world.do(Pause())
    world.exchange.cancel_faults.extend([Fault(error=OutcomeUnknown("slow"))] * 50)
    world.post(AdjustGrid(lower=D(80), upper=D(130), grid_num=4, lots=LotsPolicy.REDISTRIBUTE))
    world.step()
    return world


def test_a_checkpoint_brings_the_whole_book_back() -> None:
    """Through JSON text and back nothing is lost: lots, fees, totals, the adjust under way."""
    book = rich_world().book
    assert book.pending is not None
    assert book.paused
    assert book.grid is not None
    assert book.grid.carried
    assert book.grid.totals.funding != 0
    text = json.dumps(encode_book(book))
    assert decode_book(json.loads(text)) == book


def test_an_empty_book_is_a_book() -> None:
    """Before the first grid there is nothing, and that is kept too."""
    assert decode_book(json.loads(json.dumps(encode_book(Book())))) == Book()
    other = Book(zone=Zone.BELOW, base=D("-1.5"), paused=True)
    assert decode_book(json.loads(json.dumps(encode_book(other)))) == other


def test_a_start_from_a_checkpoint_equals_a_start_from_the_journal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often a checkpoint is written, the book after a restart is the same."""
    monkeypatch.setattr(ledger_module, "CHECKPOINT_EVERY", 3)
    world = World(make_settings(), 105)
    world.go(102, 107, 104)
    assert world.store.load_checkpoint() is not None
    book = world.book
    world.restart()
    assert world.book == book
    folded = Book()
    for seq, kind, payload, time in world.store.events_after(0):
        folded = apply(folded, kind, payload, seq, time)
    assert folded == book


def test_a_checkpoint_at_the_end_leaves_nothing_to_fold() -> None:
    """After a stop the next start reads the checkpoint alone."""
    world = World(make_settings(), 105)
    world.go(102)
    world.stop()
    checkpoint = world.store.load_checkpoint()
    assert checkpoint is not None
    assert list(world.store.events_after(checkpoint[0])) == []


@pytest.mark.parametrize(
    ("book", "kind", "message"),
    [
        (Book(), "fill", "before any grid"),
        (Book(), "adjust", "before any grid"),
        (None, "adjust", "never began"),
        (None, "dance", "unknown kind 'dance'"),
    ],
)
def test_an_entry_that_cannot_be_is_a_bug(book: Book | None, kind: str, message: str) -> None:
    """It is never passed over."""
    book = World(make_settings(), 105).book if book is None else book
    with pytest.raises(IllegalTransition, match=message):
        apply(book, kind, {"price": "1"}, 9, EPOCH)


def test_pause_and_zone_and_source_fold() -> None:
    """The small entries change their one field."""
    book = World(make_settings(), 105).book
    book = apply(book, "pause", {}, 2, EPOCH)
    book = apply(book, "zone", {"zone": "ABOVE"}, 3, EPOCH)
    book = apply(book, "source", {"source": "x"}, 4, EPOCH)
    assert (book.paused, book.zone, book.source) == (True, Zone.ABOVE, "x")
    assert apply(book, "resume", {}, 5, EPOCH).paused is False


def test_an_aborted_adjust_is_forgotten() -> None:
    """The old grid stands, and nothing is pending."""
    book = rich_world().book
    assert isinstance(book.pending, PendingAdjust)
    after = apply(book, "adjust_abort", {}, 99, EPOCH)
    assert after.pending is None
    assert after.grid == book.grid


def test_a_failed_commit_changes_nothing_in_memory() -> None:
    """What was not committed did not happen: the book is the one of before."""

    class Tearing(Database):
        torn = False

        def append_event(self, kind: str, payload: Mapping[str, Any], time: datetime) -> int:
            seq = super().append_event(kind, payload, time)
            if self.torn:
                raise StoreError("torn")
            return seq

    store = Tearing(":memory:")
    world = World(make_settings(), 105, store=store)
    book = world.book
    store.torn = True
    world.exchange.jump(104)
    world.step()
    assert world.book == book
    store.torn = False
    world.settle(patience_s=5)
    assert world.grid.position == 1
    folded = Book()
    for seq, kind, payload, time in store.events_after(0):
        folded = apply(folded, kind, payload, seq, time)
    assert folded == world.book
