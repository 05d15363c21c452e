// What the page knows: one object, changed only here, and a render asked for after each change.
// Everything shown is capped, so an instance with thousands of fills costs the page no more.
// An answer to a GET may arrive after a newer event: what is older than what is shown is let go.

import { io } from "./vendor/socket.io-4.8.4.esm.min.js";
import { get } from "./api.js";

export const SHOWN_FILLS = 100; // rows of the table
export const KEPT_FILLS = 500; // marks on the chart
const KEPT_POINTS = 6000; // uPlot draws them in some 10 ms
const HISTORY_POINTS = 1500;

export const state = {
  connected: false,
  everConnected: false,
  heardAt: null,
  status: null,
  levels: [],
  fills: [],
  times: [],
  prices: [],
};

let render = () => {};
let isRenderDue = false;
let shownSeq = 0; // of the snapshot that the status shows; a new connection begins again
let levelsSeq = 0; // of the snapshot that the levels are from
let generation = 0; // of the connection: a restarted bot counts its snapshots from the start

function changed() {
  if (isRenderDue) return;
  isRenderDue = true;
  requestAnimationFrame(() => {
    isRenderDue = false;
    render(state);
  });
}

const toSeconds = (iso) => Date.parse(iso) / 1000;

function addPoint(seconds, price) {
  const value = Number(price);
  if (!Number.isFinite(seconds) || !Number.isFinite(value)) return;
  const { times, prices } = state;
  const last = times.length - 1;
  if (last >= 0 && seconds < times[last]) return;
  if (last >= 0 && seconds === times[last]) {
    prices[last] = value;
    return;
  }
  times.push(seconds);
  prices.push(value);
  if (times.length > KEPT_POINTS) {
    times.splice(0, times.length - KEPT_POINTS);
    prices.splice(0, prices.length - KEPT_POINTS);
  }
}

function heard() {
  state.heardAt = Date.now();
}

function isOld(seq) {
  if (seq < shownSeq) return true;
  shownSeq = seq;
  return false;
}

function setLevels(levels, seq) {
  if (!levels || seq < levelsSeq) return;
  levelsSeq = seq;
  state.levels = levels;
}

function show(update, levels) {
  setLevels(levels, update.seq);
  if (!isOld(update.seq)) {
    state.status = { ...state.status, ...update };
    if (update.price) addPoint(toSeconds(update.price_time), update.price);
  }
  heard();
  changed();
}

const onStatus = ({ levels, ...status }) => show(status, levels);

const onStats = (stats) => state.status && show(stats);

const onGrid = ({ grid, levels, seq }) => (state.status ? show({ grid, seq }, levels) : setLevels(levels, seq));

function onFill(fill) {
  if (state.fills.some((known) => known.trade_id === fill.trade_id)) return;
  state.fills = [fill, ...state.fills].slice(0, KEPT_FILLS);
  heard();
  changed();
}

async function loadHistory() {
  const asked = generation;
  const [fills, points, grid, status] = await Promise.all([
    get(`/api/fills?limit=${KEPT_FILLS}`),
    get(`/api/pnl?limit=${HISTORY_POINTS}`),
    get("/api/grid"),
    get("/api/status"),
  ]);
  if (asked !== generation) return; // of an earlier connection, perhaps of an earlier process
  if (fills.status === 200) {
    const loaded = new Set(fills.body.fills.map((fill) => fill.trade_id));
    const told = state.fills.filter((fill) => !loaded.has(fill.trade_id));
    state.fills = [...told, ...fills.body.fills]
      .sort((one, other) => Date.parse(other.time) - Date.parse(one.time))
      .slice(0, KEPT_FILLS);
  }
  if (points.status === 200) {
    const live = state.times.map((time, index) => [time, state.prices[index]]);
    state.times = [];
    state.prices = [];
    for (const point of points.body.pnl.reverse()) addPoint(toSeconds(point.time), point.price);
    for (const [seconds, price] of live) addPoint(seconds, price);
  }
  if (grid.status === 200) setLevels(grid.body.levels, grid.body.seq);
  if (status.status === 200) onStatus(status.body);
  changed();
}

export function start(renderer) {
  render = renderer;
  // WebSocket alone: one connection a page, and none of polling's text posts.
  const socket = io({ transports: ["websocket"], reconnectionDelayMax: 4000 });
  socket.on("connect", () => {
    generation += 1;
    shownSeq = levelsSeq = 0;
    state.connected = true;
    state.everConnected = true;
    heard();
    changed();
    loadHistory();
  });
  const lost = () => {
    state.connected = false;
    changed();
  };
  socket.on("disconnect", (reason) => {
    lost();
    // The server said goodbye: the library would not come back by itself.
    if (reason === "io server disconnect") socket.connect();
  });
  socket.on("connect_error", lost);
  socket.on("status_update", onStatus);
  socket.on("stats_update", onStats);
  socket.on("grid_adjusted", onGrid);
  socket.on("fill", onFill);
  loadHistory();
  setInterval(changed, 1000); // the age of what is shown
}
