"""`GET /metrics`: the snapshot in Prometheus' text format, from a registry of our own.

Figures are made at each scrape from the latest snapshot; nothing is kept. A gauge is a float, which
is what Prometheus has; exact figures are in the API. prometheus_client is loaded at the first
scrape, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from core.model import RunState, Snapshot
from web.documents import READY_STATES
from web.instance import Instance

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The exposition of one instance."""

    def __init__(
        self,
        instance: Instance,
        answers: Callable[[], dict[int, int]],
        listeners: Callable[[], int],
    ) -> None:
        self._instance = instance
        self._answers = answers
        self._listeners = listeners
        self._render: Callable[[], bytes] | None = None

    def render(self) -> bytes:
        """Write all metrics as text."""
        if self._render is None:
            self._render = self._prepare()
        return self._render()

    def _prepare(self) -> Callable[[], bytes]:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collector(self._families))
        ProcessCollector(namespace="gridfleet", registry=registry)
        return lambda: generate_latest(registry)

    def _families(self) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            InfoMetricFamily,
        )

        snapshot = self._instance.snapshot()
        name = snapshot.instance_id
        live = self._instance.settings.liveness()

        info = InfoMetricFamily("gridfleet_instance", "What this instance is", labels=[])
        info.add_metric(
            [],
            {
                "instance_id": name,
                "exchange": snapshot.exchange,
                "symbol": snapshot.symbol,
                "mode": snapshot.mode,
                "strategy": snapshot.strategy,
            },
        )
        yield info

        for suffix, help_text, value in _gauges(snapshot, live, self._instance.uptime_s()):
            if value is not None:
                gauge = GaugeMetricFamily(f"gridfleet_{suffix}", help_text, labels=["instance_id"])
                gauge.add_metric([name], float(value))
                yield gauge

        pnl = GaugeMetricFamily(
            "gridfleet_pnl",
            "Profit by part, in the quote currency; total is what GRID.md 6 calls the identity",
            labels=["instance_id", "part"],
        )
        for part in ("grid", "trend", "unrealized", "fees", "open_fees", "funding", "total"):
            pnl.add_metric([name, part], float(getattr(snapshot.pnl, part)))
        yield pnl

        state = GaugeMetricFamily(
            "gridfleet_state", "1 for the state it is in", labels=["instance_id", "state"]
        )
        for each in RunState:
            state.add_metric([name, each.value], float(each is snapshot.state))
        yield state

        check_ok = GaugeMetricFamily(
            "gridfleet_check_ok", "Health checks", labels=["instance_id", "check"]
        )
        check_age = GaugeMetricFamily(
            "gridfleet_check_age_seconds",
            "Age of what a check saw",
            labels=["instance_id", "check"],
        )
        for check in snapshot.checks:
            check_ok.add_metric([name, check.name], float(check.ok))
            if check.age_s is not None:
                check_age.add_metric([name, check.name], check.age_s)
        yield check_ok
        yield check_age

        for suffix, help_text, count in (
            ("fills", "Executions since the first start", snapshot.fill_count),
            ("closed_cells", "Cells closed by their own order", snapshot.closed_cells),
        ):
            counter = CounterMetricFamily(f"gridfleet_{suffix}", help_text, labels=["instance_id"])
            counter.add_metric([name], float(count))
            yield counter

        answers = CounterMetricFamily(
            "gridfleet_http_responses", "HTTP answers by status", labels=["instance_id", "status"]
        )
        for status, count in sorted(self._answers().items()):
            answers.add_metric([name, str(status)], float(count))
        yield answers

        pages = GaugeMetricFamily(
            "gridfleet_socketio_clients", "Pages that listen", labels=["instance_id"]
        )
        pages.add_metric([name], float(self._listeners()))
        yield pages


class _Collector:
    """What a registry asks."""

    def __init__(self, families: Callable[[], Iterator[Any]]) -> None:
        self._families = families

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        return self._families()


def _gauges(
    snapshot: Snapshot, live: bool, uptime_s: float
) -> list[tuple[str, str, Decimal | float | None]]:
    quote, grid, balance = snapshot.quote, snapshot.grid, snapshot.balance
    return [
        ("live", "1 while the strategy loop turns", float(live)),
        ("ready", "1 while it trades or is paused", float(snapshot.state in READY_STATES)),
        ("uptime_seconds", "Seconds since the process began", uptime_s),
        ("price", "Last price", None if quote is None else quote.last),
        ("mark_price", "Mark price", None if quote is None else quote.mark),
        ("position", "Signed position, base currency", snapshot.position),
        ("entry_price", "Average entry price", snapshot.entry_price),
        ("liquidation_price", "Liquidation price", snapshot.liquidation_price),
        ("equity", "Account equity, quote currency", None if balance is None else balance.equity),
        ("wallet", "Account wallet, quote currency", None if balance is None else balance.wallet),
        ("grid_lower", "Lowest level", None if grid is None else grid.lower),
        ("grid_upper", "Highest level", None if grid is None else grid.upper),
        ("grid_levels", "Number of levels", None if grid is None else float(grid.num)),
        ("grid_apr", "Yearly rate of the grid profit alone, percent", snapshot.grid_apr),
        ("total_apr", "Yearly rate of the whole profit, percent", snapshot.total_apr),
        ("open_orders", "Orders that rest", float(len(snapshot.open_orders))),
        ("entries_frozen", "1 while no entry is sent", float(bool(snapshot.entries_frozen))),
        ("alerts", "Alerts that stand", float(len(snapshot.alerts))),
    ]
