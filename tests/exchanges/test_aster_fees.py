"""The sign of a commission, in every way an exchange could mean it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from exchanges.aster_fees import CommissionSigns, as_cost

D = Decimal
MAKER, TAKER = True, False


def signs(maker: str | None, taker: str = "0.0005") -> CommissionSigns:
    made = CommissionSigns()
    if maker is not None:
        made.learn_rates(D(maker), D(taker))
    return made


# The sign with which this exchange writes a cost.
@pytest.mark.parametrize("cost", [1, -1])
class TestEitherConvention:
    """The same trades mean the same fees, whether a cost is written with + or with -."""

    def test_who_pays_has_a_cost(self, cost: int) -> None:
        """Rates above nothing: every commission is a cost, the first one already."""
        found = signs("0.0002")
        assert found.fee(D("0.3") * cost, MAKER) == D("0.3")
        assert found.fee(D("0.5") * cost, TAKER) == D("0.5")

    def test_a_rebate_is_told_from_a_cost(self, cost: int) -> None:
        """A negative maker rate: a maker's is a rebate before and after a taker's was seen."""
        found = signs("-0.0001")
        assert found.fee(D("-0.1") * cost, MAKER) == D("-0.1")
        assert found.fee(D("0.5") * cost, TAKER) == D("0.5")
        assert found.fee(D("-0.1") * cost, MAKER) == D("-0.1")

    def test_a_rate_that_changed_spoils_no_older_trade(self, cost: int) -> None:
        """Costs of before the rebate, in one list with a taker's, stay costs; and back again."""
        for rate in ("-0.0001", "0.0002"):
            found = signs(rate)
            found.learn([(D("0.5") * cost, TAKER)])
            assert found.fee(D("0.2") * cost, MAKER) == D("0.2")
            assert found.fee(D("-0.1") * cost, MAKER) == D("-0.1")

    def test_without_rates_a_taker_teaches(self, cost: int) -> None:
        """A stream that was not told any rate learns by the first taker's trade."""
        found = signs(None)
        assert found.fee(D("0.5") * cost, TAKER) == D("0.5")
        assert found.fee(D("-0.1") * cost, MAKER) == D("-0.1")

    def test_what_nothing_tells_is_a_cost(self, cost: int) -> None:
        """Better a rebate too little than a cost too little."""
        assert signs(None).fee(D("0.1") * cost, MAKER) == D("0.1")
        assert as_cost(D("0.1") * cost, MAKER) == D("0.1")

    def test_a_taker_who_is_paid(self, cost: int) -> None:
        """Both rates negative: all are rebates."""
        found = signs("-0.0001", "-0.0001")
        assert found.fee(D("0.5") * cost, TAKER) == D("-0.5")
        assert found.fee(D("0.5") * cost, MAKER) == D("-0.5")


def test_nothing_is_nothing() -> None:
    """A free trade teaches no sign."""
    found = signs("0")
    assert found.fee(D("-0"), MAKER) == 0
    assert found.fee(D("-0.5"), TAKER) == D("0.5")
