"""The connections of each exchange's feed: where they go, what they ask for, how they are read."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import ExchangeError
from exchanges import aster_replies, aster_wire, backpack_frames, backpack_wire
from exchanges.aster_fees import FeeOf
from exchanges.feed import Channel, StreamBroken
from exchanges.transport import RestSession
from exchanges.wire import Fields, load_json

LISTEN_KEY_S = 1800.0
"""A listen key lives for 60 minutes and is extended at half time."""


def backpack_channels(
    *,
    symbol: str,
    session: RestSession,
    keys: backpack_wire.BackpackKeys,
    ws_url: str | None,
    name_of: Callable[[str], str | None],
) -> tuple[Channel, ...]:
    """One socket for all: the account's orders first, so that they are told when prices come."""

    def hello() -> tuple[str, ...]:
        private = [f"account.orderUpdate.{symbol}", f"account.positionUpdate.{symbol}"]
        return (
            backpack_wire.subscribe_frame(private, keys, session.now_ms()),
            backpack_wire.subscribe_frame([f"bookTicker.{symbol}", f"markPrice.{symbol}"], None, 0),
        )

    return (
        Channel(
            name="backpack",
            url=lambda: ws_url or backpack_wire.WS_URL,
            hello=hello,
            read=lambda text: backpack_frames.read_frame(text, name_of),
        ),
    )


def aster_channels(
    *,
    symbol: str,
    session: RestSession,
    ws_url: str | None,
    fee_of: FeeOf,
    learn_fees: Callable[[], None],
) -> tuple[Channel, ...]:
    """Prices on a combined stream, the account on the one that its listen key opens.

    `learn_fees` is called before the account's first frame, so that `fee_of` can read it.
    """
    base = (ws_url or aster_wire.WS_URL).rstrip("/")
    lower = symbol.lower()

    def user_url() -> str:
        learn_fees()
        text = session.send(aster_wire.listen_key("POST"))
        return f"{base}/ws/{Fields('listen key', load_json(text, 'listen key')).text('listenKey')}"

    def keep_alive() -> None:
        try:
            session.send(aster_wire.listen_key("PUT"))
        except ExchangeError as error:
            raise StreamBroken(f"its listen key could not be extended: {error}") from None

    return (
        Channel(
            name="price",
            url=lambda: f"{base}/stream?streams={lower}@bookTicker/{lower}@markPrice@1s",
            read=aster_replies.read_frame,
        ),
        Channel(
            name="account",
            url=user_url,
            read=lambda text: aster_replies.read_frame(text, fee_of),
            keep_alive=keep_alive,
            keep_alive_s=LISTEN_KEY_S,
        ),
    )
