"""The page of one run: what it earned, what that rests on, and the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from cli.backtesting import page as html
from cli.backtesting.run import Run, assumptions, iso
from core.model import ZERO
from strategies.grid_math import plain

CAPTIONS = {
    "price": (
        "The price (line: closes; band: lows and highs), the levels of the grid, and every fill "
        "at its own price."
    ),
    "equity": "The change of the account's equity since the start, and the parts it is the sum of.",
    "position": "What was held at each close.",
    "drawdown": "How far the equity was below its highest value before, at its worst in each step.",
}


def page(run: Run, pictures: Mapping[str, bytes], warning: str | None) -> str:
    """Write index.html."""
    setup = run.setup
    spec, quote = run.replayed.grid.spec, setup.rules.instrument.quote_asset
    title = f"Backtest of {setup.config.instance_id}: {setup.config.symbol}"
    rows = "trades" if run.are_trades else "candles"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        html.paragraph(
            f"{spec.kind.value}, {spec.mode.value}, {plain(spec.lower)} to {plain(spec.upper)}, "
            f"{spec.num} levels ({spec.num - 1} cells), {plain(spec.quantity)} "
            f"{setup.rules.instrument.base_asset} an order; {_when(run.curve.times_ms[0])} to "
            f"{_when(run.end_ms)} UTC, {run.candles:,} {rows}.",
            "faint",
        ),
    ]
    if run.replayed.ended_by is not None:
        body.append(
            html.paragraph(
                f"The bot ended this run before the data did, at {_when(run.end_ms)} UTC: "
                f"{run.replayed.ended_by}. Its position was closed.",
                "note",
            )
        )
    if warning is not None:
        body.append(html.paragraph(warning, "note"))
    body += [_cards(run), html.heading(f"Accounting ({quote})"), _accounting(run)]
    if pictures:
        body.append(html.heading("Pictures"))
        body += [html.picture(image, CAPTIONS[name]) for name, image in pictures.items()]
        if _moves(run):
            body.append(
                html.paragraph("The grid may have moved: its levels are those of the end.", "faint")
            )
    body += [
        html.heading("Against buying and holding"),
        _holding(run),
        html.heading("What this rests on"),
        html.pairs(_assumed(run)),
        html.paragraph(
            "A backtest replays candles, not the order book: it knows neither the queue at a price "
            "nor what your own orders would have changed, and what paid in the past need not pay "
            "again.",
            "faint",
        ),
    ]
    return html.document(title, body)


def _moves(run: Run) -> bool:
    """Whether the range may have been another one before the end."""
    return run.setup.settings.boundary_action in ("adjust_range", "trail")


def _cards(run: Run) -> str:
    found, pnl = run.figures, run.replayed.pnl
    totals = run.replayed.grid.totals
    quote, base = run.setup.rules.instrument.quote_asset, run.setup.rules.instrument.base_asset
    margin = f"on {_money(found.invested)} {quote} of margin, {found.days:.2f} days"
    shown = [
        html.card(
            f"equity change, {quote}",
            _money(run.replayed.equity_change),
            "exact in the table below",
            _kind(run.replayed.equity_change),
        ),
        html.card("grid APR", _percent(found.grid_apr), f"closed cells alone, {margin}"),
        html.card(
            "total APR", _percent(found.total_apr), f"everything, {margin}", _kind(found.total_apr)
        ),
        html.card(
            f"max drawdown, {quote}",
            _money(found.drawdown),
            f"{_percent(found.drawdown_percent)} of the account at its peak, "
            f"{_percent(found.drawdown_of_invested)} of the margin",
        ),
        html.card(
            "closed cells",
            f"{totals.closed_cells:,}",
            f"{totals.fills:,} fills"
            + (f" and {totals.initial_fills} of the entry" if totals.initial_fills else ""),
        ),
        html.card(f"fees, {quote}", _money(pnl.fees), "paid in all, inside the parts below"),
        html.card(
            "time in range",
            _percent(found.in_range),
            ("trades" if run.are_trades else "candles that closed")
            + " inside it"
            + (", as it was at the end" if _moves(run) else ""),
        ),
        html.card(
            "exposure",
            _percent(found.exposed),
            f"of the time with a position; {_money(found.mean_exposure)} {quote} on average, "
            f"{plain(found.most_held)} {base} at most",
        ),
    ]
    return html.cards(shown)


def _accounting(run: Run) -> str:
    pnl, instrument = run.replayed.pnl, run.setup.rules.instrument
    last = plain(run.replayed.last_price)
    position = f"{plain(run.replayed.grid.position)} {instrument.base_asset}"
    rows = [
        ("grid: closed cells, one interval each, after their fees", plain(pnl.grid)),
        ("trend: what came from prices other than the levels", plain(pnl.trend)),
        (f"unrealized: {position} at {last}", plain(pnl.unrealized)),
        ("open fees: paid on lots still open", plain(-pnl.open_fees)),
        ("funding", plain(pnl.funding)),
        ("equity change: the sum of the above", plain(run.replayed.equity_change)),
    ]
    return html.sums(rows, len(rows) - 1)


def _holding(run: Run) -> str:
    held, instrument = run.figures.held, run.setup.rules.instrument
    rows = [
        (
            (
                f"{plain(held.quantity)} {instrument.base_asset} bought at "
                f"{plain(run.replayed.start_price)}, at the end worth "
                f"{plain(run.replayed.last_price)} each"
            ),
            plain(held.price_gain),
        ),
        ("taker fee of that purchase", plain(-held.fee)),
        ("funding", plain(held.funding)),
        ("equity change of holding", plain(held.equity_change)),
    ]
    about = html.paragraph(
        f"The same notional, {_money(run.figures.notional)} {instrument.quote_asset}: what one side"
        " of this grid holds when it is full, at the middle of the range.",
        "faint",
    )
    return about + html.sums(rows, len(rows) - 1)


def _assumed(run: Run) -> list[tuple[str, str]]:
    known = assumptions(run)
    through = run.setup.assumptions.through
    slippage = Decimal(known["slippage"]) * 100
    tick = known["tick_size"]
    words = {
        "boundary_action": "at the boundary",
        "stop_loss": "stop loss",
        "take_profit": "take profit",
        "max_position": "maximum position",
        "trigger_price": "trigger price",
    }
    rows = [
        ("config", known["config"]),
        ("period", f"{known['from']} to {known['to']}"),
        (
            "candles",
            (
                f"{run.candles:,} trades from {known['data']}; each is a price of the path"
                if run.are_trades
                else f"{run.candles:,} of {_duration(run.interval_ms)} from {known['data']}; each "
                "is walked open, low, high, close when it closes at or above its open, else open, "
                "high, low, close"
            ),
        ),
        ("start price", plain(run.replayed.start_price) + ", the first candle's open"),
        (
            "fill rule",
            f"through: a resting order fills, whole and at its own price, when the price goes at "
            f"least one tick ({tick}) beyond it"
            if through
            else "touch: a resting order fills, whole and at its own price, when the price touches "
            "it",
        ),
        (
            "slippage",
            (
                f"{plain(slippage)} % against the last price for orders that take: the initial "
                "entry, market closes by a stop or at the boundary, exits the price has passed; "
                "never beyond the order's own limit"
            ),
        ),
        ("fees", f"maker {_rate(known['maker_fee'])}, taker {_rate(known['taker_fee'])}"),
        (
            "funding",
            "none: no file was given"
            if known["funding_file"] is None
            else f"{known['funding_file']}; at each stamp, on that candle's close",
        ),
        (
            "limits",
            f"tick {tick}, lot {known['lot_size']}, minimum notional {known['min_notional']}",
        ),
        ("account", f"{known['balance']} at the start, leverage {known['leverage']}"),
        (
            "grid",
            f"{known['grid_type']}, {known['grid_mode']}, {known['grid_lower_price']} to "
            f"{known['grid_upper_price']}, {known['grid_num']} levels, {known['quantity']} an order"
            + (", with an initial entry" if known["open_initial"] else ""),
        ),
    ]
    rows += [(word, str(known[key])) for key, word in words.items() if known[key] is not None]
    if known["stop_loss"] or known["take_profit"] or known["boundary_action"] != "none":
        judged = "judged where the price has a corner or an order fills, not in between"
        rows.append(("stops and boundary", judged))
    rows.append(("drawdown", "judged at the open, low, high and close of every candle, as walked"))
    rows.append(
        (
            "APR",
            (
                "profit / margin / days x 365, not compounded; the margin is what the grid takes "
                f"when one side is full: {plain(run.figures.invested)}"
            ),
        )
    )
    return rows


def _when(time_ms: int) -> str:
    return iso(time_ms).removesuffix("Z").replace("T", " ").removesuffix(":00")


def _money(value: Decimal) -> str:
    return html.grouped(f"{value:.2f}")


def _percent(value: Decimal | None) -> str:
    return "none" if value is None else f"{html.grouped(f'{value:.2f}')} %"


def _rate(text: str) -> str:
    return f"{plain(Decimal(text) * 100)} %"


def _kind(value: Decimal | None) -> str:
    return "" if value is None or value == ZERO else "good" if value > ZERO else "bad"


def _duration(milliseconds: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"
