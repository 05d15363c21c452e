// The page of one instance. It reads by Socket.IO and GET, it acts by POST, and it holds no secret.
// All text goes through preact, which sets text nodes: no markup from outside is ever markup here.

import { html, render } from "./vendor/htm-preact-3.1.1.standalone.module.js";
import { Chart } from "./chart.js";
import { Actions, Adjust } from "./controls.js";
import { Accounting, Banners, Figures, Fills, Footer, Header, Health, Ladder } from "./panels.js";
import { start } from "./store.js";

function App({ state }) {
  const { status, connected } = state;
  return html`
    <div class=${connected || !state.everConnected ? "page" : "page lost"}>
      <${Header} state=${state}>
        <${Actions} status=${status} isEnabled=${connected} />
      <//>
      <${Banners} state=${state} />
      ${status
        ? html`
            <${Figures} status=${status} />
            <main>
              <section class="card price">
                <h2>Price <span class="muted">with the grid's levels and its fills</span></h2>
                <${Chart} times=${state.times} prices=${state.prices} levels=${state.levels}
                  fills=${state.fills} price=${status.price} />
              </section>
              <${Fills} fills=${state.fills} count=${status.fills} />
              <${Ladder} levels=${state.levels} price=${status.price} grid=${status.grid} />
              <div class="side">
                <${Accounting} pnl=${status.pnl} />
                ${status.checks?.length > 0 && html`<${Health} checks=${status.checks} />`}
                <${Adjust} grid=${status.grid} isEnabled=${connected} />
              </div>
            </main>
            <${Footer} status=${status} />
          `
        : html`<p class="muted empty">Waiting for the bot.</p>`}
    </div>
  `;
}

const root = document.getElementById("app");

start((state) => {
  document.title = state.status
    ? `${state.status.price ?? ""} ${state.status.instance_id}`.trim()
    : "gridfleet";
  render(html`<${App} state=${state} />`, root);
});
