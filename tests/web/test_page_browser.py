"""The page in a real Chromium: what it shows, what it does, what it never asks for.

SECURITY.md items 30 to 32, and the table of attacks of its first page: a foreign site, mapped to
loopback by the browser's own resolver, tries what a foreign site can try.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import CHROMIUM_FLAGS
from fakes_web import (
    FakeBot,
    FakeHistory,
    Served,
    make_fill,
    make_levels,
    make_snapshot,
    secret,
    serving,
    wait_until,
)
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.model import AdjustGrid, CommandResult, Outcome, RunState, StopBot

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EVIL = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    flags = [*CHROMIUM_FLAGS, "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=flags)
        expect.set_options(timeout=15_000)  # its own 5 s are short on a busy machine
        yield chromium
        chromium.close()


class Watched:
    """A page with everything it complained about and everything it asked for."""

    def __init__(self, browser: Browser, served: Served, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.served = served

    def _on_console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self) -> Page:
        self.page.goto(self.served.url)
        expect(self.page.locator("#connection")).to_have_text("live")
        return self.page

    def outside(self) -> list[str]:
        own = f"://127.0.0.1:{self.served.port}/"
        return [url for url in self.asked if own not in url]


@pytest.fixture
def watched(browser: Browser, served: Served) -> Iterator[Watched]:
    opened = Watched(browser, served)
    yield opened
    opened.context.close()


def test_30_the_page_shows_the_figures_and_asks_nobody_else(watched: Watched) -> None:
    """Figures, ladder, chart, sum and fills are there; no violation, no error, no other host."""
    page = watched.open()
    expect(page.locator("#instance")).to_have_text("bp_sol_01")
    expect(page.locator("#symbol")).to_have_text("SOL_USDC_PERP")
    expect(page.locator("#mode")).to_have_text("PAPER")
    expect(page.locator("#state")).to_have_text("running")
    expect(page.locator("#price")).to_have_text("150.07")
    expect(page.locator("#position")).to_have_text("1.500")
    expect(page.locator("#liquidation")).to_have_text("61.33")
    expect(page.locator("#grid-apr")).to_have_text("+37.51 %")
    expect(page.locator("#total-apr")).to_have_text("+36.87 %")
    expect(page.locator("#open-orders")).to_have_text("18")
    expect(page.locator("#total")).to_have_text("+126.04")
    assert page.locator("#total").get_attribute("title") == "126.0361273165"
    assert page.locator("#ladder .level").count() == 21
    assert page.locator("#ladder .level.dormant").count() == 2
    assert page.locator("#ladder .level.exit").count() == 3
    expect(page.locator("#ladder .here")).to_contain_text("150.07")
    assert page.locator("#fills tbody tr").count() == 100
    expect(page.locator("#chart canvas")).to_be_visible()
    assert page.title() == "150.07 bp_sol_01"
    assert watched.complaints == []
    assert watched.outside() == []
    assert watched.context.cookies() == []


def test_the_shown_sum_adds_up_to_its_last_digit(watched: Watched) -> None:
    """FAILURES 31: exact as printed: its parts make its total, with nothing rounded away."""
    from decimal import Decimal

    page = watched.open()
    shown = {}
    for part in ("grid", "trend", "unrealized", "open-fees", "funding", "total"):
        cells = page.locator(f"#pnl-{part} td.num").all_text_contents()
        shown[part] = Decimal("".join(cells).replace("−", "-"))
    parts = shown["grid"] + shown["trend"] + shown["unrealized"] - shown["open-fees"]
    assert parts + shown["funding"] == shown["total"] == Decimal("126.0361273165")


def test_what_happens_is_shown_without_a_reload(watched: Watched) -> None:
    """Price, state, fills and alerts arrive by Socket.IO."""
    page = watched.open()
    bot = watched.served.bot
    quote = bot().quote
    assert quote is not None
    from dataclasses import replace
    from decimal import Decimal

    bot.publish(quote=replace(quote, last=Decimal("151.23"), mark=Decimal("151.23")))
    expect(page.locator("#price")).to_have_text("151.23")
    bot.publish(recent_fills=(make_fill(777),), fill_count=201)
    expect(page.locator("#fill-count")).to_have_text("201")
    expect(page.locator("#fills tbody tr").first).to_have_attribute(
        "title", "trade t777, order v777"
    )
    bot.publish(state=RunState.PAUSED, entries_frozen="data is stale", alerts=("a fire",))
    expect(page.locator("#state")).to_have_text("paused")
    expect(page.locator("#banners")).to_contain_text("Entries are frozen: data is stale")
    expect(page.locator("#banners")).to_contain_text("a fire")
    expect(page.locator("#pause")).to_have_text("Resume")
    assert watched.complaints == []


def test_an_answer_that_arrives_late_takes_nothing_back(watched: Watched) -> None:
    """The page asks, an event overtakes the answer, the answer is older: the event's figures stay.

    Without it a page that had just connected could show an old price until the next change.
    """
    from dataclasses import replace
    from decimal import Decimal

    page, bot = watched.page, watched.served.bot
    held: list[Any] = []
    for path in ("/api/status", "/api/grid"):
        page.route(f"**{path}", lambda route: held.append((route, route.fetch())))
    page.goto(watched.served.url)
    expect(page.locator("#price")).to_have_text("150.07")
    snapshot = bot()
    assert snapshot.quote is not None
    assert snapshot.grid is not None
    lower, price = Decimal(140), Decimal("151.23")
    bot.publish(
        quote=replace(snapshot.quote, last=price, mark=price),
        grid=replace(snapshot.grid, num=11, cells=10, version=2),
        levels=make_levels(lower, snapshot.grid.upper, 11, price),
    )
    expect(page.locator("#price")).to_have_text("151.23")
    expect(page.locator("#ladder .level")).to_have_count(11)
    assert page.locator("#fills tbody tr").count() == 0
    for route, answer in held:
        route.fulfill(response=answer)
    expect(page.locator("#fills tbody tr")).to_have_count(100)
    expect(page.locator("#price")).to_have_text("151.23")
    assert page.locator("#ladder .level").count() == 11
    assert watched.complaints == []


def test_adjust_previews_then_applies(watched: Watched) -> None:
    """Apply waits for a preview of the same values; both are one POST; the grid moves."""
    page = watched.open()
    bot = watched.served.bot
    expect(page.locator("#apply")).to_be_disabled()
    page.fill("#adjust input[name=lower]", "141.5")
    page.fill("#adjust input[name=num]", "20")
    page.click("#preview")
    expect(page.locator("#plan")).to_contain_text("this is what it would do")
    expect(page.locator("#plan")).to_contain_text("kept")
    expect(page.locator("#apply")).to_be_enabled()
    page.fill("#adjust input[name=upper]", "161")
    expect(page.locator("#apply")).to_be_disabled()
    page.click("#preview")
    expect(page.locator("#apply")).to_be_enabled()
    page.click("#apply")
    expect(page.locator("#plan")).to_contain_text("the new grid rests")
    assert [type(command) for command in bot.commands] == [AdjustGrid] * 3
    assert [command.dry_run for command in bot.commands] == [True, True, False]  # type: ignore[union-attr]
    grid = bot().grid
    assert grid is not None
    assert (str(grid.lower), str(grid.upper), grid.num) == ("141.5", "161", 20)
    expect(page.locator("#adjust input[name=lower]")).to_have_value("141.5")
    expect(page.locator("#ladder .level")).to_have_count(20)
    assert watched.complaints == []


def test_a_refused_adjust_says_why_and_leaves_the_form(watched: Watched) -> None:
    """The message of the API is shown as it is; what was typed stays to be mended."""
    page = watched.open()
    page.fill("#adjust input[name=lower]", "170")
    page.click("#preview")
    expect(page.locator("#plan .bad")).to_contain_text("grid_lower_price: was 170, expected less")
    expect(page.locator("#apply")).to_be_disabled()
    expect(page.locator("#adjust input[name=lower]")).to_have_value("170")
    page.fill("#adjust input[name=lower]", "abc")
    page.click("#preview")
    expect(page.locator("#plan .bad")).to_contain_text("grid_lower_price: was 'abc'")


def test_a_pending_adjust_is_told_as_pending(watched: Watched) -> None:
    """202 is no success yet: the words of the engine are shown in another colour."""
    page = watched.open()
    page.click("#preview")
    expect(page.locator("#apply")).to_be_enabled()
    watched.served.bot.answer = CommandResult(
        outcome=Outcome.PENDING, message="stored; it is still being carried out"
    )
    page.click("#apply")
    expect(page.locator("#plan .warn")).to_contain_text("still being carried out")


def test_pause_resume_and_stop_with_its_question(watched: Watched) -> None:
    """Pause acts at once; stop asks, and its choices travel with it."""
    page = watched.open()
    page.click("#pause")
    expect(page.locator("#state")).to_have_text("paused")
    page.click("#pause")
    expect(page.locator("#state")).to_have_text("running")
    page.click("#stop")
    expect(page.locator("#stop-dialog")).to_be_visible()
    page.click("#stop-no")
    expect(page.locator("#stop-dialog")).not_to_be_visible()
    assert len(watched.served.bot.commands) == 2
    page.click("#stop")
    page.check("#stop-dialog input[name=keep_orders]")
    page.click("#stop-yes")
    expect(page.locator("#state")).to_have_text("stopping")
    assert watched.served.bot.commands[-1] == StopBot(keep_orders=True, reason="http")
    expect(page.locator("#stop")).to_be_disabled()
    assert watched.complaints == []


def test_32_markup_from_outside_is_text(browser: Browser) -> None:
    """Names, alerts, ids and details that hold markup are shown letter by letter."""
    from core.model import Check

    snapshot = make_snapshot(
        instance_id=EVIL,
        symbol=EVIL,
        exchange=EVIL,
        strategy=EVIL,
        alerts=(EVIL,),
        entries_frozen=EVIL,
        checks=(Check(name=EVIL, ok=True, age_s=1.0, detail=EVIL),),
    )
    bot, history = FakeBot(snapshot), FakeHistory()
    history.all_fills = (make_fill(1, trade_id=EVIL, venue_order_id=EVIL, fee_asset=EVIL),)
    bot.answer = CommandResult(outcome=Outcome.INVALID, message=EVIL)
    with serving(bot=bot, history=history) as served:
        watched = Watched(browser, served)
        page = watched.open()
        expect(page.locator("#symbol")).to_have_text(EVIL)
        expect(page.locator("#instance")).to_have_text(EVIL)
        expect(page.locator("#banners")).to_contain_text(EVIL)
        expect(page.locator("#checks")).to_contain_text(EVIL)
        page.click("#preview")
        expect(page.locator("#plan")).to_contain_text(EVIL)
        assert page.locator("#app img, #app script").count() == 0
        assert page.title() != "owned"
        assert [text for text in watched.complaints if "400" not in text] == []
        watched.context.close()


def test_a_page_whose_bot_is_gone_says_so_and_comes_back(browser: Browser) -> None:
    """Without the bot the figures are marked as old and nothing can be pressed."""
    with serving() as served:
        watched = Watched(browser, served)
        page = watched.open()
        port = served.port
        served.stop()
        expect(page.locator("#connection")).to_have_text("disconnected")
        expect(page.locator("#banners")).to_contain_text("Disconnected")
        for button in ("#pause", "#stop", "#preview", "#apply"):
            expect(page.locator(button)).to_be_disabled()
        expect(page.locator("#price")).to_have_text("150.07")

        from web.server import WebServer, create_app

        again = WebServer("127.0.0.1", port)
        assert again.bind() == port
        successor = FakeBot(make_snapshot(closed_cells=5, fill_count=321))
        app = create_app(successor, successor, served.history, served.settings)
        again.start(app)
        try:
            expect(page.locator("#connection")).to_have_text("live")
            expect(page.locator("#fill-count")).to_have_text("321")
            expect(page.locator("#stop")).to_be_enabled()
        finally:
            watched.context.close()
            again.stop()


def test_the_page_asks_once_for_the_token(browser: Browser) -> None:
    """A wrong token is refused in words, the right one opens, and a new tab is not asked."""
    with serving(token=secret("right-token")) as served:
        watched = Watched(browser, served)
        page = watched.page
        page.goto(served.url)
        page.fill("input[name=token]", "wrong")
        page.click("button[type=submit]")
        expect(page.locator("#told")).to_contain_text("not the instance's WEB_TOKEN")
        page.fill("input[name=token]", "right-token")
        page.click("button[type=submit]")
        expect(page.locator("#connection")).to_have_text("live")
        assert "right-token" not in page.url
        (cookie,) = watched.context.cookies()
        assert cookie["name"] == "gridfleet_bp_sol_01"
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert page.evaluate("document.cookie") == ""
        page.click("#pause")
        expect(page.locator("#state")).to_have_text("paused")
        other = watched.context.new_page()
        other.goto(served.url)
        expect(other.locator("#connection")).to_have_text("live")
        watched.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_it_fits_large_and_small_screens(
    browser: Browser, served: Served, width: int, height: int, scheme: Any
) -> None:
    """Nothing runs out of the screen sideways; at desk size all of it is in sight at once."""
    watched = Watched(
        browser, served, viewport={"width": width, "height": height}, color_scheme=scheme
    )
    page = watched.open()
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
    if width == 1440:
        taller = "document.documentElement.scrollHeight - document.documentElement.clientHeight"
        assert page.evaluate(taller) <= 0
        for part in ("#chart", "#ladder", "#accounting", "#adjust", "#fills"):
            expect(page.locator(part)).to_be_in_viewport()
    watched.context.close()


def test_many_levels_and_fills_are_shown_in_time(browser: Browser) -> None:
    """200 levels and 5000 fills: the page is up soon, and shows a capped part."""
    from decimal import Decimal

    levels = make_levels(Decimal(140), Decimal(160), 200, Decimal("150.07"))
    bot = FakeBot(make_snapshot(levels=levels, fill_count=5000))
    with serving(bot=bot, history=FakeHistory(fills=5000, samples=5000)) as served:
        watched = Watched(browser, served)
        watched.page.goto(served.url)
        ready = watched.page.wait_for_function(
            """() => document.querySelectorAll("#ladder .level").length === 200
                && document.querySelectorAll("#fills tbody tr").length === 100
                && document.querySelector("#chart canvas")
                && performance.now()"""  # milliseconds since the navigation began
        )
        assert ready.json_value() < 10_000
        assert watched.complaints == []
        watched.context.close()


# A foreign site ---------------------------------------------------------------------------------


class ForeignSite:
    """A web site of somebody else on another port, by the name evil.example."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b"<!doctype html><title>evil</title><body>hello</body>"
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://evil.example:{self.server.server_address[1]}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


ATTACKS = """async (target) => {
  const told = {};
  const attempt = async (name, options, path = "/api/grid/adjust") => {
    try {
      const response = await fetch(target + path, { method: "POST", ...options });
      told[name] = response.type === "opaque" ? "opaque" : response.status;
    } catch (error) { told[name] = "blocked"; }
  };
  const body = JSON.stringify({ grid_lower_price: 1 });
  await attempt("text", { body, headers: { "Content-Type": "text/plain" }, mode: "no-cors" });
  await attempt("json", { body, headers: { "Content-Type": "application/json" } });
  await attempt("no type", { body: new Blob([body]), mode: "no-cors" });
  await attempt("no body", { mode: "no-cors" }, "/api/stop");
  await attempt("with cookies", { body, mode: "no-cors", credentials: "include" });
  try {
    const read = await fetch(target + "/api/status");
    told.read = read.status;
  } catch (error) { told.read = "blocked"; }
  told.socket = await new Promise((resolve) => {
    const address = target.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket";
    const socket = new WebSocket(address);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
  });
  told.jsonp = await new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = target + "/socket.io/?EIO=4&transport=polling&j=0";
    script.onload = () => resolve("loaded");
    script.onerror = () => resolve("refused");
    document.head.append(script);
  });
  told.frame = await new Promise((resolve) => {
    const frame = document.createElement("iframe");
    frame.src = target + "/";
    frame.onload = () => {
      try { resolve(frame.contentDocument ? "read" : "apart"); } catch { resolve("apart"); }
    };
    document.body.append(frame);
  });
  return told;
}"""


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_31_a_foreign_site_can_neither_act_nor_read(
    browser: Browser, name: str, token: bool
) -> None:
    """Cross-site POSTs, WebSocket, JSONP, frame and reads: nothing is executed, nothing is read."""
    site = ForeignSite()
    try:
        with serving(token=secret() if token else None) as served:
            before = served.bot()
            context = browser.new_context()
            page = context.new_page()
            page.goto(site.url)
            told = page.evaluate(ATTACKS, f"http://{name}:{served.port}")
            assert told["socket"] == "refused"
            assert told["jsonp"] == "refused"
            assert told["frame"] == "apart"
            assert told["read"] == "blocked"
            assert told["json"] == "blocked"
            assert served.bot.commands == []
            assert served.bot() == before
            context.close()
    finally:
        site.close()


def test_31_a_rebound_name_can_neither_act_nor_read(browser: Browser, served: Served) -> None:
    """evil.example resolves to loopback: its own origin and Host match, and are not ours."""
    context = browser.new_context()
    page = context.new_page()
    response = page.goto(f"http://evil.example:{served.port}/health")
    assert response is not None
    assert response.status == 421
    told = page.evaluate(ATTACKS, f"http://evil.example:{served.port}")
    assert told["json"] == 421
    assert told["read"] == 421
    assert told["socket"] == "refused"
    assert told["jsonp"] == "refused"
    assert served.bot.commands == []
    context.close()


def test_31_a_form_of_a_foreign_site_does_nothing(browser: Browser, served: Served) -> None:
    """The oldest of them: a form that posts itself, in each encoding a form has."""
    site = ForeignSite()
    try:
        for encoding in (
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "text/plain",
        ):
            context = browser.new_context()
            page = context.new_page()
            page.goto(site.url)
            with page.expect_response(f"{served.url}/api/stop") as answered:
                page.evaluate(
                    """([target, encoding]) => {
                        const form = document.createElement("form");
                        form.method = "post";
                        form.action = target;
                        form.enctype = encoding;
                        document.body.append(form);
                        form.submit();
                    }""",
                    [f"{served.url}/api/stop", encoding],
                )
            assert answered.value.status == 403
            context.close()
        assert served.bot.commands == []
        wait_until(lambda: served.bot().state is RunState.RUNNING, "it runs on")
    finally:
        site.close()
