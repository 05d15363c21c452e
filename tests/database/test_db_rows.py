"""Round trips: what is written is read back to the last digit."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from database_values import T0, fills, moments, orders, payments, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model import EquitySample, Fill, FundingPayment, Order
from database.db import Database
from database.rows import (
    equity_of,
    equity_row,
    from_micros,
    funding_of,
    funding_row,
    to_json,
    to_micros,
    to_text,
)


@settings(max_examples=40, deadline=None)
@given(order=orders)
def test_an_order_comes_back_exactly(order: Order) -> None:
    """repr also tells 1.0 from 1.00, which equality does not."""
    store = Database(":memory:")
    store.save_order(order)
    assert repr(store.load_order(order.client_order_id)) == repr(order)
    assert store.live_orders() == (() if order.status.is_terminal else (order,))
    store.close()


@settings(max_examples=40, deadline=None)
@given(fill=fills, slot=st.just("entry:1"))
def test_a_fill_comes_back_exactly(fill: Fill, slot: str) -> None:
    store = Database(":memory:")
    assert store.insert_fill(fill, slot)
    assert repr(store.load_fills(1)) == repr((fill,))
    assert store.last_fill_time() == fill.time
    store.close()


@settings(max_examples=30, deadline=None)
@given(payment=payments)
def test_a_funding_payment_is_kept_once(payment: FundingPayment) -> None:
    store = Database(":memory:")
    assert store.insert_funding(payment)
    assert not store.insert_funding(payment)
    assert store.last_funding_time() == payment.time
    store.close()
    assert repr(funding_of(funding_row(payment))) == repr(payment)  # what was not told stays so


@settings(max_examples=25, deadline=None)
@given(sample=samples)
def test_an_equity_sample_comes_back_exactly(sample: EquitySample) -> None:
    assert repr(equity_of(equity_row(sample))) == repr(sample)


@given(moment=moments)
def test_moments_keep_every_microsecond(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


def test_a_moment_of_another_zone_is_the_same_moment_in_utc() -> None:
    taipei = T0.astimezone(timezone(timedelta(hours=8)))
    assert from_micros(to_micros(taipei)) == T0
    assert from_micros(to_micros(taipei)).tzinfo is UTC


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_micros(datetime(2026, 1, 1))  # noqa: DTZ001 - the fault under test


@pytest.mark.parametrize("text", ["NaN", "sNaN12", "Infinity", "-Infinity"])
def test_what_is_no_number_is_never_stored(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        to_text(Decimal(text))


@settings(max_examples=25, deadline=None)
@given(
    document=st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_a_document_is_json_and_comes_back(document: dict[str, object]) -> None:
    assert json.loads(to_json(document)) == document


@pytest.mark.parametrize("value", [Decimal("1"), T0, float("nan"), {1, 2}])
def test_a_document_with_what_json_lacks_is_refused(value: object) -> None:
    """A Decimal must be given as its text, or it would come back as something else."""
    with pytest.raises((TypeError, ValueError)):
        to_json({"value": value})
