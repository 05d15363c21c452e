"""Backpack's documented operations beside perpetual trading: empty lists, or a refusal in words.

A client that looks for what an account without spot, vaults, quotes and strategies has, finds
nothing; one that wants to make it is refused by the documented code, not by a missing path.
"""

from __future__ import annotations

from typing import Any

from exchanges.simulator.backpack_auth import bad_request
from exchanges.simulator.backpack_call import NOT_FOUND, Call, Route, Routes, is_perp, page

PUBLIC_LISTS = (
    "/api/v1/market-sessions",
    "/api/v1/prediction",
    "/api/v1/prediction/tags",
    "/api/v1/securities",
    "/api/v1/vaults",
    "/api/v1/vaults/history",
    "/api/v1/wallets",
    "/api/v1/borrowLend/markets",
    "/api/v1/borrowLend/markets/history",
)
SIGNED_LISTS = {
    ("GET", "/api/v1/borrowLend/positions"): "borrowLendPositionQuery",
    ("GET", "/api/v1/rfqs"): "rfqQuery",
    ("GET", "/api/v1/strategies"): "strategyQueryAll",
    ("DELETE", "/api/v1/strategies"): "strategyCancelAll",
    ("GET", "/api/v1/vault/redeems/pending"): "vaultPendingRedeemsQuery",
}
EMPTY_HISTORIES = {
    "/wapi/v1/history/settlement": "settlementHistoryQueryAll",
    "/wapi/v1/history/borrowLend": "borrowHistoryQueryAll",
    "/wapi/v1/history/borrowLend/positions": "borrowPositionHistoryQueryAll",
    "/wapi/v1/history/interest": "interestHistoryQueryAll",
    "/wapi/v1/history/dust": "dustHistoryQueryAll",
    "/wapi/v1/history/pnl": "pnlHistoryQueryAll",
    "/wapi/v1/history/quote": "quoteHistoryQueryAll",
    "/wapi/v1/history/quote/fill": "quoteFillHistoryQueryAll",
    "/wapi/v1/history/rfq": "rfqHistoryQueryAll",
    "/wapi/v1/history/rfq/fill": "rfqFillHistoryQueryAll",
    "/wapi/v1/history/strategies": "strategyHistoryQueryAll",
    "/wapi/v1/capital/deposits": "depositQueryAll",
    "/wapi/v1/capital/withdrawals": "withdrawalQueryAll",
}
NOTHING_THERE = {  # one strategy by its id: there is none
    ("GET", "/api/v1/strategy"): "strategyQuery",
    ("DELETE", "/api/v1/strategy"): "strategyCancel",
}
REFUSED = {  # an instruction "" is not documented: the signature cannot be checked
    ("POST", "/api/v1/strategy"): "strategyCreate",
    ("POST", "/api/v1/account/convertDust"): "convertDust",
    ("POST", "/api/v1/borrowLend"): "borrowLendExecute",
    ("GET", "/api/v1/borrowLend/position/liquidationPrice"): "",
    ("GET", "/api/v1/borrowLend/apy"): "",
    ("POST", "/api/v1/rfq"): "rfqSubmit",
    ("POST", "/api/v1/rfq/quote"): "quoteSubmit",
    ("POST", "/api/v1/rfq/accept"): "quoteAccept",
    ("POST", "/api/v1/rfq/refresh"): "rfqRefresh",
    ("POST", "/api/v1/rfq/cancel"): "rfqCancel",
    ("POST", "/api/v1/vault/mint"): "vaultMint",
    ("POST", "/api/v1/vault/redeem"): "vaultRedeemRequest",
    ("DELETE", "/api/v1/vault/redeem"): "vaultRedeemCancel",
    ("GET", "/api/v1/vault/nav"): "",
    ("GET", "/wapi/v1/capital/deposit/address"): "depositAddressQuery",
    ("POST", "/wapi/v1/capital/withdrawals"): "withdraw",
    ("GET", "/wapi/v1/capital/withdrawals/delay"): "",
    ("POST", "/wapi/v1/capital/withdrawals/delay"): "",
    ("PATCH", "/wapi/v1/capital/withdrawals/delay"): "",
    ("GET", "/wapi/v1/history/positionEvents"): "",
}


def routes() -> Routes:
    """By method and path, as the other routes."""
    return {
        **{("GET", path): Route("", lambda _: []) for path in PUBLIC_LISTS},
        **{key: Route(instruction, _nothing) for key, instruction in SIGNED_LISTS.items()},
        **{
            ("GET", path): Route(instruction, lambda call: page(call, []))
            for path, instruction in EMPTY_HISTORIES.items()
        },
        **{key: Route(instruction, _absent) for key, instruction in NOTHING_THERE.items()},
        **{key: Route(instruction, _refuse) for key, instruction in REFUSED.items()},
    }


def _nothing(call: Call) -> list[Any]:
    is_perp(call)
    return []


def _absent(_call: Call) -> Any:
    raise NOT_FOUND


def _refuse(_call: Call) -> Any:
    raise bad_request("Not simulated here: perpetual markets alone", "NOT_IMPLEMENTED")
