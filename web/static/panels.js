// The panels that only show: header, figures, ladder, accounting, fills.

import { Component, html } from "./vendor/htm-preact-3.1.1.standalone.module.js";
import {
  DASH,
  clock,
  dayAndClock,
  duration,
  exact,
  negated,
  rounded,
  signed,
  split,
  tone,
} from "./format.js";
import { SHOWN_FILLS } from "./store.js";

const SHOWN_LEVELS = 240;

export function Header({ state, children }) {
  const { status, connected } = state;
  const link = connected ? "live" : state.everConnected ? "disconnected" : "connecting";
  return html`
    <header class="top">
      <div class="who">
        <h1 id="instance">${status?.instance_id ?? "gridfleet"}</h1>
        <span class="muted" id="symbol">${status?.symbol ?? ""}</span>
        <span class="muted exchange">${status?.exchange ?? ""}</span>
        ${status && html`<${Badge} kind=${status.mode} text=${status.mode.toUpperCase()} id="mode" />`}
        ${status && html`<${Badge} kind=${status.state} text=${status.state} id="state" />`}
      </div>
      <div class="now">
        <strong id="price" class="num" title="last price">${exact(status?.price)}</strong>
        <span class=${`link ${link}`} id="connection" title=${agoText(state)}>${link}</span>
      </div>
      <div class="actions">${children}</div>
    </header>
  `;
}

function Badge({ kind, text, id }) {
  return html`<span class=${`badge ${kind}`} id=${id}>${text}</span>`;
}

function agoText({ heardAt }) {
  return heardAt ? `last heard ${Math.round((Date.now() - heardAt) / 1000)} s ago` : "never heard";
}

export function Banners({ state }) {
  const { status } = state;
  const banners = [];
  if (!state.connected && state.everConnected) {
    const since = state.heardAt ? new Date(state.heardAt).toLocaleTimeString("en-GB") : DASH;
    banners.push(["bad", `Disconnected: the bot does not answer. The figures are from ${since}.`]);
  } else if (status && status.live === false) {
    banners.push(["bad", "The strategy loop has stalled; its supervisor restarts it."]);
  }
  if (status?.entries_frozen) banners.push(["warn", `Entries are frozen: ${status.entries_frozen}`]);
  if (status?.state === "paused") {
    banners.push(["note", "Paused: no new entries; exits stay on the exchange."]);
  }
  for (const alert of status?.alerts ?? []) banners.push(["warn", alert]);
  return html`
    <div class="banners" id="banners" aria-live="polite">
      ${banners.slice(0, 8).map(([kind, text]) => html`<p class=${`banner ${kind}`}>${text}</p>`)}
    </div>
  `;
}

export function Figures({ status }) {
  const grid = status.grid;
  const aprs = status.apr ?? {};
  const percent = (text) => (text === null ? DASH : `${signed(text, Math.abs(text) < 1000 ? 2 : 0)} %`);
  return html`
    <section class="figures" id="figures">
      <${Figure} label="Position" id="position" value=${status.position} show=${exact}
        hint=${status.entry_price === null ? "flat" : `entry ${rounded(status.entry_price, 4)}`}
        hintTitle=${exact(status.entry_price)} tinted />
      <${Figure} label="Liquidation" id="liquidation" value=${status.liquidation_price} show=${exact}
        hint=${`mark ${exact(status.mark_price)}`} />
      <${Figure} label="Equity" id="equity" value=${status.equity} show=${rounded}
        hint=${status.balance ? `${rounded(status.balance.available)} free ${status.balance.asset}` : ""}
        hintTitle=${status.balance ? exact(status.balance.available) : ""} />
      <${Figure} label="Total profit" id="total" value=${status.pnl.total} show=${signed} tinted
        hint=${`grid ${signed(status.pnl.grid)}`} hintTitle=${exact(status.pnl.grid)} />
      <div class="figure pair">
        <div>
          <span class="label">Grid APR</span>
          <b class=${`num ${tone(aprs.grid)}`} id="grid-apr" title=${exact(aprs.grid)}>${percent(aprs.grid)}</b>
        </div>
        <div>
          <span class="label">Total APR</span>
          <b class=${`num ${tone(aprs.total)}`} id="total-apr" title=${exact(aprs.total)}>${percent(aprs.total)}</b>
        </div>
      </div>
      <${Figure} label="Open orders" id="open-orders" value=${String(status.open_orders)} show=${exact}
        hint=${grid ? `${grid.num} levels, ${grid.cells} cells` : ""} />
      <${Figure} label="Fills" id="fill-count" value=${String(status.fills)} show=${exact}
        hint=${`${status.closed_cells} cells closed · up ${duration(status.uptime_s)}`} />
    </section>
  `;
}

function Figure({ label, id, value, show, hint, hintTitle = "", tinted = false }) {
  return html`
    <div class="figure">
      <span class="label">${label}</span>
      <b class=${`num ${tinted ? tone(value) : ""}`} id=${id} title=${exact(value)}>${show(value)}</b>
      <span class="hint" title=${hintTitle}>${hint}</span>
    </div>
  `;
}

export class Ladder extends Component {
  componentDidUpdate() {
    if (this.isPlaced || !this.base) return;
    const line = this.base.querySelector(".here");
    const box = this.base.querySelector(".scroll");
    if (line && box) {
      box.scrollTop = line.offsetTop - box.clientHeight / 2;
      this.isPlaced = true;
    }
  }

  componentDidMount() {
    this.componentDidUpdate();
  }

  render({ levels, price, grid }) {
    const at = Number(price);
    const nearest = levels.findIndex((level) => Number(level.price) > at);
    const centre = nearest < 0 ? levels.length : nearest;
    const from = Math.max(0, Math.min(centre - SHOWN_LEVELS / 2, levels.length - SHOWN_LEVELS));
    const shown = levels.slice(from, from + SHOWN_LEVELS);
    const rows = [];
    for (const level of [...shown].reverse()) {
      const isAbove = Number(level.price) > at;
      if (!isAbove && !rows.some((row) => row.here)) rows.push({ here: true });
      rows.push({ level });
    }
    if (!rows.some((row) => row.here)) rows.push({ here: true });
    return html`
      <section class="card ladder" id="ladder">
        <h2>Levels
          <span class="muted">${grid ? `${grid.mode}, ${grid.type}, ${exact(grid.quantity)} each` : ""}</span>
        </h2>
        <div class="scroll" tabindex="0">
          <table>
            <tbody>
              ${from + SHOWN_LEVELS < levels.length && html`<${More} count=${levels.length - from - SHOWN_LEVELS} />`}
              ${rows.map((row) => (row.here ? html`<${Here} price=${price} key="here" />` : html`<${Level} level=${row.level} key=${row.level.index} />`))}
              ${from > 0 && html`<${More} count=${from} />`}
            </tbody>
          </table>
        </div>
      </section>
    `;
  }
}

function Here({ price }) {
  return html`<tr class="here"><td class="num">${exact(price)}</td><td colspan="3">price</td></tr>`;
}

function More({ count }) {
  return html`<tr class="more"><td colspan="4">${count} more levels</td></tr>`;
}

function Level({ level }) {
  const kind = level.side ? level.side.toLowerCase() : "none";
  const word = level.dormant ? "dormant" : level.role ?? DASH;
  return html`
    <tr class=${`level ${kind} ${level.dormant ? "dormant" : ""} ${level.role ?? ""}`}>
      <td class="num">${exact(level.price)}</td>
      <td class="side">${level.side ?? ""}</td>
      <td class="num">${level.quantity === null ? "" : exact(level.quantity)}</td>
      <td class="role">${word}</td>
    </tr>
  `;
}

export function Accounting({ pnl }) {
  const parts = [
    ["", "Grid", pnl.grid, "whole intervals, their fees taken off"],
    ["+", "Trend", pnl.trend, "what closed lots made beyond their interval"],
    ["+", "Unrealized", pnl.unrealized, "open lots at the mark price"],
    ["−", "Open fees", pnl.open_fees, "paid on lots that are still open", "plain"],
    ["+", "Funding", pnl.funding, "received, or paid when negative"],
  ];
  return html`
    <section class="card" id="accounting">
      <h2>Profit <span class="muted">exact, in the quote currency</span></h2>
      <table class="sum">
        <tbody>
          ${parts.map(([sign, name, text, title, plain]) => html`<${Part} sign=${sign} name=${name} text=${text} title=${title} tinted=${!plain} />`)}
        </tbody>
        <tfoot>
          <${Part} sign="=" name="Total" text=${pnl.total} title="equity gained since the start" tinted />
          <tr class="aside" title="inside grid, trend and open fees">
            <td></td><th>Fees paid so far</th><${Money} text=${negated(pnl.fees)} />
          </tr>
        </tfoot>
      </table>
    </section>
  `;
}

function Part({ sign, name, text, title, tinted }) {
  const id = `pnl-${name.toLowerCase().replace(" ", "-")}`;
  return html`<tr title=${title} id=${id}><td>${sign}</td><th>${name}</th><${Money} text=${text} tinted=${tinted} /></tr>`;
}

function Money({ text, tinted = false }) {
  const [head, rest] = split(text);
  return html`
    <td class=${`num head ${tinted ? tone(text) : ""}`} title=${exact(text)}>${head}</td>
    <td class="num rest">${rest}</td>
  `;
}

export function Health({ checks }) {
  return html`
    <section class="card" id="checks">
      <h2>Health</h2>
      <ul class="checks">
        ${checks.map(
          (check) => html`
            <li class=${check.ok ? "" : "failing"} title=${check.detail}>
              <b>${check.name}</b><span>${check.detail}</span>
            </li>
          `,
        )}
      </ul>
    </section>
  `;
}

export function Fills({ fills, count }) {
  const shown = fills.slice(0, SHOWN_FILLS);
  return html`
    <section class="card fills" id="fills">
      <h2>Fills <span class="muted">newest ${shown.length} of ${count}</span></h2>
      <div class="scroll" tabindex="0">
        <table>
          <thead>
            <tr><th>Time</th><th>Side</th><th>Price</th><th>Quantity</th><th>Fee</th><th></th></tr>
          </thead>
          <tbody>
            ${shown.map(
              (fill) => html`
                <tr key=${fill.trade_id} title=${`trade ${fill.trade_id}, order ${fill.order_id}`}>
                  <td class="num" title=${fill.time}>${dayAndClock(fill.time)}</td>
                  <td class=${`side ${fill.side.toLowerCase()}`}>${fill.side}</td>
                  <td class="num">${exact(fill.price)}</td>
                  <td class="num">${exact(fill.quantity)}</td>
                  <td class="num" title=${`${fill.fee} ${fill.fee_asset}`}>${rounded(fill.fee, 4)}</td>
                  <td class="role">${fill.is_maker ? "maker" : "taker"}</td>
                </tr>
              `,
            )}
          </tbody>
        </table>
        ${shown.length === 0 && html`<p class="muted empty">No fills yet.</p>`}
      </div>
    </section>
  `;
}

export function Footer({ status }) {
  return html`
    <footer class="muted">
      pid ${status.pid} · ${status.strategy} · started ${dayAndClock(status.started_at)} · figures of
      ${" "}${clock(status.time)} · hover a figure for its exact value
    </footer>
  `;
}
