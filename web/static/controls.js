// The panels that act: adjust with its preview, pause and resume, stop with a confirmation.
// Each is one POST to this instance; the answer's message is shown as text.

import { html, useRef, useState } from "./vendor/htm-preact-3.1.1.standalone.module.js";
import { post } from "./api.js";
import { exact } from "./format.js";

const LOTS = [
  ["carry", "carry: keep their exits"],
  ["redistribute", "redistribute: into new cells"],
  ["close", "close: give them up"],
];

function body(fields, dryRun) {
  const sent = { lots: fields.lots, dry_run: dryRun };
  if (fields.lower.trim()) sent.grid_lower_price = fields.lower.trim();
  if (fields.upper.trim()) sent.grid_upper_price = fields.upper.trim();
  if (fields.num.trim()) sent.grid_num = /^\d+$/.test(fields.num.trim()) ? Number(fields.num) : fields.num;
  return sent;
}

export function Adjust({ grid, isEnabled }) {
  const [edited, setEdited] = useState({});
  const [answer, setAnswer] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const present = { lower: grid?.lower ?? "", upper: grid?.upper ?? "", num: String(grid?.num ?? ""), lots: "carry" };
  const fields = { ...present, ...edited };
  const key = JSON.stringify(body(fields, true));
  const isPreviewed = answer?.key === key && answer.isPreview && answer.body.success;

  const edit = (name) => (event) => {
    setEdited({ ...edited, [name]: event.target.value });
    setAnswer(null);
  };
  const send = async (dryRun) => {
    setBusy(true);
    const result = await post("/api/grid/adjust", body(fields, dryRun));
    setBusy(false);
    setAnswer({ ...result, key, isPreview: dryRun });
    if (!dryRun && result.body.success) setEdited({});
  };
  const preview = (event) => {
    event.preventDefault();
    send(true);
  };

  return html`
    <section class="card" id="adjust">
      <h2>Adjust the grid</h2>
      <form onSubmit=${preview} autocomplete="off">
        <label>Lower <input name="lower" inputmode="decimal" value=${fields.lower} onInput=${edit("lower")} /></label>
        <label>Upper <input name="upper" inputmode="decimal" value=${fields.upper} onInput=${edit("upper")} /></label>
        <label>Levels <input name="num" inputmode="numeric" value=${fields.num} onInput=${edit("num")} /></label>
        <label>Lots
          <select name="lots" onInput=${edit("lots")}>
            ${LOTS.map(([value, text]) => html`<option value=${value} selected=${fields.lots === value}>${text}</option>`)}
          </select>
        </label>
        <div class="buttons">
          <button type="submit" class="secondary" id="preview" disabled=${!isEnabled || isBusy}>Preview</button>
          <button type="button" id="apply" disabled=${!isEnabled || isBusy || !isPreviewed}
            title=${isPreviewed ? "" : "preview these values first"} onClick=${() => send(false)}>Apply</button>
        </div>
      </form>
      ${answer && html`<${Plan} answer=${answer} />`}
    </section>
  `;
}

function Plan({ answer }) {
  const { body: told, status, isPreview } = answer;
  const kind = !told.success ? "bad" : status === 202 ? "warn" : isPreview ? "note" : "good";
  const lists = ["kept", "cancelled", "placed", "carried", "closed"].filter((name) => told[name] !== undefined);
  return html`
    <div class="plan" id="plan" aria-live="polite">
      <p class=${`banner ${kind}`}>${told.message}</p>
      ${(told.warnings ?? []).map((text) => html`<p class="banner warn">${text}</p>`)}
      ${isPreview && told.success && html`
        <dl>
          ${lists.map((name) => html`<${Part} name=${name} value=${told[name]} />`)}
          ${told.dormant_cells && html`<${Part} name="dormant cells" value=${told.dormant_cells} />`}
        </dl>
      `}
    </div>
  `;
}

function Part({ name, value }) {
  if (!Array.isArray(value)) return html`<div><dt>${name}</dt><dd class="num">${exact(value)}</dd></div>`;
  const words = value.slice(0, 12).map((item) => (typeof item === "object" ? orderWords(item) : String(item)));
  if (value.length > 12) words.push(`and ${value.length - 12} more`);
  return html`
    <div>
      <dt>${name}</dt>
      <dd class="num" title=${words.join(", ")}>${value.length}</dd>
    </div>
  `;
}

function orderWords(item) {
  const place = item.price ?? `${item.lower}–${item.upper}`;
  return `${item.side ?? ""} ${item.quantity ?? ""} @ ${place}`.trim();
}

export function Actions({ status, isEnabled }) {
  const dialog = useRef(null);
  const [told, setTold] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const [choices, setChoices] = useState({ keep_orders: false, close_positions: false });
  const isPaused = status?.state === "paused";
  const mayAct = isEnabled && !isBusy && (isPaused || status?.state === "running");

  const act = async (path, sent) => {
    setBusy(true);
    const result = await post(path, sent);
    setBusy(false);
    setTold(result.body);
  };
  const stop = () => {
    dialog.current.close();
    act("/api/stop", choices);
  };
  const choose = (name) => (event) => setChoices({ ...choices, [name]: event.target.checked });

  return html`
    ${told && html`<span class=${`told ${told.success ? "" : "bad"}`} id="told" title=${told.message}>${told.message}</span>`}
    <button class="secondary outline" id="pause" disabled=${!mayAct}
      onClick=${() => act(isPaused ? "/api/resume" : "/api/pause", {})}>${isPaused ? "Resume" : "Pause"}</button>
    <button class="outline danger" id="stop" disabled=${!mayAct} onClick=${() => dialog.current.showModal()}>Stop</button>
    <dialog ref=${dialog} id="stop-dialog">
      <article>
        <h2>Stop ${status?.instance_id}?</h2>
        <p>Its orders are cancelled and the bot ends for good. Starting it again takes the command line.</p>
        <label><input type="checkbox" name="keep_orders" checked=${choices.keep_orders} onChange=${choose("keep_orders")} /> keep the orders on the exchange</label>
        <label><input type="checkbox" name="close_positions" checked=${choices.close_positions} onChange=${choose("close_positions")} /> close the position (${exact(status?.position)})</label>
        <footer>
          <button class="secondary" id="stop-no" onClick=${() => dialog.current.close()}>Keep it running</button>
          <button class="danger" id="stop-yes" onClick=${stop}>Stop it</button>
        </footer>
      </article>
    </dialog>
  `;
}
