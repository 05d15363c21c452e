"""The feed's rules over real WebSockets: gaps, reconnects, silence, keys that end, quiet prices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from scripted_ws import ScriptedSocket, scripted_socket
from simulated import wait_until

from core.errors import AuthError, Retryable
from core.model import FeedGap, Fill, MarketEvent, Order, Quote
from exchanges import aster_replies, feed
from exchanges.feed import Channel, StreamFeed

pytestmark = pytest.mark.slow

D = Decimal
SYMBOL = "SOLUSDT"


@pytest.fixture
def socket() -> Iterator[ScriptedSocket]:
    with scripted_socket() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "TICK_S", 0.02)
    monkeypatch.setattr(feed, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(feed, "LONGEST_PAUSE_S", 0.1)


class Watched:
    """A feed under test and what it told."""

    def __init__(self, *channels: Channel) -> None:
        self.events: list[MarketEvent] = []
        self.feed = StreamFeed(channels, symbol=SYMBOL)

    def start(self) -> None:
        self.feed.start(self.events.append)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def gaps(self) -> list[str]:
        return [gap.reason for gap in self.of(FeedGap)]


@pytest.fixture
def watched(socket: ScriptedSocket) -> Iterator[Watched]:
    made = Watched(Channel(name="test", url=lambda: socket.url, read=aster_replies.read_frame))
    made.start()
    wait_until(lambda: made.feed.is_up, "the stream stands")
    yield made
    made.feed.stop()


def book(bid: str, ask: str) -> str:
    return json.dumps(
        {"e": "bookTicker", "u": 1, "E": 1, "T": 1750793021531, "s": SYMBOL,
         "b": bid, "B": "1", "a": ask, "A": "1"}
    )  # fmt: skip


def trade(symbol: str = SYMBOL) -> str:
    told = {
        "s": symbol, "c": "a-1", "S": "BUY", "o": "LIMIT", "f": "GTX", "q": "1", "p": "150",
        "x": "TRADE", "X": "FILLED", "i": 7, "l": "1", "z": "1", "L": "150", "T": 1750793023430,
        "t": 9, "m": True, "R": False, "N": "USDT", "n": "0.01",
    }  # fmt: skip
    return json.dumps({"e": "ORDER_TRADE_UPDATE", "E": 1750793023433, "T": 1, "o": told})


def test_a_stream_that_stands_begins_with_a_gap(watched: Watched) -> None:
    """What happened before it stood is read by REST."""
    wait_until(lambda: any("stands" in reason for reason in watched.gaps), "the gap is told")


def test_orders_and_fills_come_at_once_and_of_our_symbol(
    socket: ScriptedSocket, watched: Watched
) -> None:
    """The account's stream tells of all its symbols."""
    socket.say(trade("BTCUSDT"))
    socket.say(trade())
    wait_until(lambda: watched.of(Order), "the order is told")
    assert [fill.trade_id for fill in watched.of(Fill)] == ["9"]


def test_quiet_quotes_are_held_back_and_the_last_one_told(
    socket: ScriptedSocket, watched: Watched
) -> None:
    """Within the range only the latest counts; one outside is told at once."""
    watched.feed.set_wake_range(D(140), D(160))
    for i in range(50):
        socket.say(book(f"150.{i:02d}", f"150.{i:02d}"))
    wait_until(
        lambda: watched.of(Quote) and watched.of(Quote)[-1].bid == D("150.49"), "the last is told"
    )
    assert len(watched.of(Quote)) < 50
    before = len(watched.of(Quote))
    for i in range(5):
        socket.say(book(f"161.{i}", f"161.{i}"))
    wait_until(lambda: len(watched.of(Quote)) == before + 5, "each one outside is told")
    assert watched.of(Quote)[-1].mark == D("161.4")  # no mark was told yet


def test_no_price_of_before_follows_a_fill(
    socket: ScriptedSocket, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quote that was held back when a fill came is dropped, and the next is told at once."""
    monkeypatch.setattr(feed, "QUIET_S", 600.0)
    watched.feed.set_wake_range(D(140), D(160))
    socket.say(book("150", "150"))  # told: the first one
    socket.say(book("149", "149"))  # held back
    socket.say(trade())
    socket.say(book("150.5", "150.5"))
    wait_until(lambda: len(watched.of(Quote)) == 2, "the next quote is told")
    assert [q.bid for q in watched.of(Quote)] == [D(150), D("150.5")]
    kinds = [type(e) for e in watched.events if not isinstance(e, FeedGap)]
    assert kinds == [Quote, Fill, Order, Quote]


def test_a_broken_stream_is_a_gap_and_stands_again(
    socket: ScriptedSocket, watched: Watched
) -> None:
    """Broken, then up again with another gap; events go on."""
    for _ in range(3):
        count = len(watched.gaps)
        socket.drop()
        wait_until(lambda count=count: len(watched.gaps) >= count + 2, "broken and back")
        assert any("broke" in reason for reason in watched.gaps[count:])
        wait_until(lambda: watched.feed.is_up and socket.connections, "it stands")
    socket.say(trade())
    wait_until(lambda: watched.of(Fill), "events go on")
    assert not any("127.0.0.1" in reason for reason in watched.gaps)


def test_while_it_is_down_the_engine_goes_on_by_rest(
    socket: ScriptedSocket, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap again and again, for each synchronises the grid with the exchange."""
    monkeypatch.setattr(feed, "DOWN_POLL_S", 0.1)
    socket.refuses = True
    socket.drop()
    wait_until(
        lambda: sum("read by REST" in reason for reason in watched.gaps) >= 3, "it goes on by REST"
    )
    socket.refuses = False
    wait_until(lambda: watched.feed.is_up, "it stands again")


def test_silence_is_pinged_and_then_broken(
    socket: ScriptedSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that answers no ping is gone, whatever the network says."""
    monkeypatch.setattr(feed, "PING_AFTER_S", 0.1)
    monkeypatch.setattr(feed, "DEAD_AFTER_S", 0.6)
    watched = Watched(Channel(name="test", url=lambda: socket.url, read=aster_replies.read_frame))
    watched.start()
    wait_until(lambda: socket.connections, "it stands")
    wait_until(lambda: len(socket.paths) == 1 and (watched.feed.age_s() or 9) < 0.3, "pongs count")
    monkeypatch.setattr(feed, "PING_AFTER_S", 600.0)
    wait_until(lambda: any("silent" in reason for reason in watched.gaps), "silence breaks it")
    watched.feed.stop()


@pytest.mark.parametrize(
    "frame",
    ['{"e": "listenKeyExpired", "E": 1}', '{"code": 2, "msg": "Invalid request"}'],
)
def test_a_stream_that_ended_by_word_is_left(
    socket: ScriptedSocket, watched: Watched, frame: str
) -> None:
    """An expired key leaves the socket open and silent; an error tells that nothing will come."""
    socket.say(frame)
    wait_until(lambda: len(socket.paths) == 2, "it connects anew")


def test_an_unreadable_frame_may_have_been_a_fill(socket: ScriptedSocket, watched: Watched) -> None:
    """It counts as a gap, at most one in a while, and the connection stays."""
    wait_until(lambda: watched.gaps, "the first gap")
    for _ in range(20):
        socket.say('{"e": "ORDER_TRADE_UPDATE", "o": {"s": "SOLUSDT"}}')
    socket.say(trade())
    wait_until(lambda: watched.of(Fill), "the next frame is read")
    assert sum("not understood" in reason for reason in watched.gaps) == 1
    assert len(socket.paths) == 1


def test_a_key_is_kept_alive_and_made_anew(socket: ScriptedSocket) -> None:
    """It is extended in time; when that fails, the next connection has a new one."""
    keys = iter(range(100))
    calls: list[str] = []

    def keep_alive() -> None:
        calls.append("keep")
        if len(calls) > 2:
            raise Retryable("-1125 This listenKey does not exist.")

    watched = Watched(
        Channel(
            name="account",
            url=lambda: f"{socket.url}/ws/key{next(keys)}",
            read=aster_replies.read_frame,
            keep_alive=keep_alive,
            keep_alive_s=0.05,
        )
    )
    watched.start()
    wait_until(lambda: "/ws/key1" in socket.paths, "a new key")
    watched.feed.stop()
    assert len(calls) >= 3
    assert not any("key0" in reason for reason in watched.gaps)


def test_two_channels_stand_only_together(socket: ScriptedSocket) -> None:
    """While one of them is down the feed has gaps, and its age is that of the older one."""
    allowed: list[bool] = []

    def url() -> str:
        if not allowed:
            raise AuthError("no key yet")
        return socket.url

    watched = Watched(
        Channel(name="price", url=lambda: socket.url, read=aster_replies.read_frame),
        Channel(name="account", url=url, read=aster_replies.read_frame),
    )
    watched.start()
    wait_until(lambda: any("account stream is down" in r for r in watched.gaps), "it is told")
    assert not watched.feed.is_up
    assert watched.feed.age_s() is None
    allowed.append(True)
    wait_until(lambda: watched.feed.is_up, "both stand")
    age = watched.feed.age_s()
    assert age is not None
    assert age < 30
    watched.feed.stop()


def test_after_stop_nothing_is_told(socket: ScriptedSocket, watched: Watched) -> None:
    """A stopped feed is silent, has no thread, and may be stopped twice."""
    watched.feed.stop()
    watched.feed.stop()
    count = len(watched.events)
    for connection in list(socket.connections):
        connection.send(trade())
    assert len(watched.events) == count
    assert watched.feed.poll() == ()
    assert watched.feed.next_due() is None
