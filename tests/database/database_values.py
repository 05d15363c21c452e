"""Values for the tests of the database room: made by hand and by hypothesis."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from core.model import (
    EquitySample,
    Fill,
    FundingPayment,
    Order,
    OrderStatus,
    PnL,
    Side,
    TimeInForce,
)

T0 = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

_ORDER = Order(
    client_order_id="gf-1",
    symbol="SOL_USDC_PERP",
    side=Side.BUY,
    price=Decimal("150.10"),
    quantity=Decimal("2.000"),
    status=OrderStatus.PENDING,
    created_at=T0,
    updated_at=T0,
)
_FILL = Fill(
    trade_id="t1",
    venue_order_id="v1",
    client_order_id="gf-1",
    symbol="SOL_USDC_PERP",
    side=Side.BUY,
    price=Decimal("150.10"),
    quantity=Decimal("2.000"),
    fee=Decimal("0.06004"),
    fee_asset="USDC",
    is_maker=True,
    time=T0,
)


def an_order(number: int = 1, **changes: Any) -> Order:
    return replace(_ORDER, **{"client_order_id": f"gf-{number}", **changes})


def a_fill(number: int = 1, **changes: Any) -> Fill:
    return replace(_FILL, **{"trade_id": f"t{number}", **changes})


def a_payment(hours: int = 0, **changes: Any) -> FundingPayment:
    payment = FundingPayment(
        symbol="SOL_USDC_PERP",
        time=T0 + timedelta(hours=hours),
        rate=Decimal("0.0001"),
        mark_price=Decimal("150"),
        position=Decimal("-2.5"),
        amount=Decimal("0.0375"),
    )
    return replace(payment, **changes)


def a_sample(time: datetime, equity: str = "100000") -> EquitySample:
    return EquitySample(
        time=time,
        price=Decimal("150"),
        position=Decimal("2"),
        pnl=PnL(grid=Decimal("1.5")),
        equity=Decimal(equity),
    )


decimals = st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC)).map(lambda each: each.replace(fold=0))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
orders = st.builds(
    Order,
    client_order_id=texts,
    symbol=texts,
    side=st.sampled_from(Side),
    price=decimals,
    quantity=decimals,
    status=st.sampled_from(OrderStatus),
    created_at=moments,
    updated_at=moments,
    venue_order_id=st.none() | texts,
    filled_qty=decimals,
    post_only=st.booleans(),
    reduce_only=st.booleans(),
    time_in_force=st.sampled_from(TimeInForce),
    slot=texts,
    reason=texts,
)
fills = st.builds(
    Fill,
    trade_id=texts,
    venue_order_id=texts,
    client_order_id=texts,
    symbol=texts,
    side=st.sampled_from(Side),
    price=decimals,
    quantity=decimals,
    fee=decimals,
    fee_asset=texts,
    is_maker=st.booleans(),
    time=moments,
)
payments = st.builds(
    FundingPayment,
    symbol=texts,
    time=moments,
    rate=st.none() | decimals,
    mark_price=st.none() | decimals,
    position=st.none() | decimals,
    amount=decimals,
)
samples = st.builds(
    EquitySample,
    time=moments,
    price=decimals,
    position=decimals,
    pnl=st.builds(
        PnL,
        grid=decimals,
        trend=decimals,
        unrealized=decimals,
        fees=decimals,
        open_fees=decimals,
        funding=decimals,
    ),
    equity=decimals,
)
