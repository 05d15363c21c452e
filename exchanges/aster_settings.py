"""The Aster account's own settings: position mode, margin type and leverage, and who sets them.

Position mode belongs to the whole account, margin type and leverage to the symbol.
"""

from __future__ import annotations

from typing import Any

from core.errors import ConfigError, Rejected
from exchanges import aster_replies as replies
from exchanges import aster_wire as wire
from exchanges.rest_client import Terms
from exchanges.transport import RestSession
from exchanges.wire import Call, Fields, load_json


class AccountSettings:
    """Checks them and sets what the terms allow."""

    def __init__(self, session: RestSession, terms: Terms) -> None:
        self._session = session
        self._terms = terms

    def _ask(self, call: Call, what: str) -> Any:
        return load_json(self._session.send(call), what)

    def words(self, symbol: str) -> tuple[str, ...]:
        """Say how the account stands, for a reader. Errors: ExchangeError."""
        row = self._position_rows(symbol)[0]
        mode = "hedge (two-way)" if self._is_dual() else "one-way"
        return (
            f"leverage {row.text('leverage')} on {symbol}, {row.text('marginType')} margin",
            f"{mode} positions",
        )

    def _position_rows(self, symbol: str) -> list[Fields]:
        call = wire.query("/fapi/v2/positionRisk", {"symbol": symbol}, weight=5)
        return replies.read_positions(symbol, self._ask(call, "positions"))

    def _is_dual(self) -> bool:
        call = wire.query("/fapi/v1/positionSide/dual", weight=30)
        mode = Fields("position mode", self._ask(call, "position mode"))
        mode.raw("dualSidePosition")
        return mode.flag("dualSidePosition")

    def settle(self, symbol: str) -> None:
        """Check position mode, margin type and leverage; set what the terms allow."""
        if self._is_dual():
            self._change(
                "/fapi/v1/positionSide/dual",
                {"dualSidePosition": "false"},
                wish="one-way positions (the account is in hedge mode)",
                account_wide=True,
            )
        row = self._position_rows(symbol)[0]
        if row.text("marginType").lower() not in ("cross", "crossed"):
            self._change(
                "/fapi/v1/marginType",
                {"symbol": symbol, "marginType": "CROSSED"},
                wish=f"cross margin on {symbol} (it is {row.text('marginType')})",
            )
        wanted = self._terms.leverage
        if wanted is not None and row.decimal("leverage") != wanted:
            self._change(
                "/fapi/v1/leverage",
                {"symbol": symbol, "leverage": int(wanted)},
                wish=f"leverage {int(wanted)} on {symbol} (it is {row.text('leverage')})",
            )

    def _change(
        self, path: str, params: dict[str, object], *, wish: str, account_wide: bool = False
    ) -> None:
        if account_wide and not self._terms.allow_account_changes:
            raise ConfigError(
                f"the Aster account: expected {wish}: change it there, or set "
                "strategy_config.allow_account_changes (it changes every symbol of the account)"
            )
        if not self._terms.may_change:
            return  # a check: the start would set it
        try:
            self._session.send(wire.write("POST", path, params))
        except Rejected as error:
            if str(error).startswith(("-4046", "-4059")):
                return  # it is so already
            raise ConfigError(
                f"the Aster account: expected {wish}, and it could not be set: {error}"
            ) from None
