// What the page knows: one object, changed only here, and a render asked for after each change.
// Everything shown is capped, so an instance with thousands of fills costs the page no more.

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

function onStatus({ levels, ...status }) {
  state.status = { ...state.status, ...status };
  if (levels) state.levels = levels;
  if (status.price) addPoint(toSeconds(status.price_time), status.price);
  heard();
  changed();
}

function onStats(stats) {
  if (!state.status) return;
  state.status = { ...state.status, ...stats };
  if (stats.price) addPoint(toSeconds(stats.price_time), stats.price);
  heard();
  changed();
}

function onGrid({ grid, levels }) {
  if (state.status) state.status = { ...state.status, grid };
  state.levels = levels;
  heard();
  changed();
}

function onFill(fill) {
  if (state.fills.some((known) => known.trade_id === fill.trade_id)) return;
  state.fills = [fill, ...state.fills].slice(0, KEPT_FILLS);
  heard();
  changed();
}

async function loadHistory() {
  const [fills, points, grid, status] = await Promise.all([
    get(`/api/fills?limit=${KEPT_FILLS}`),
    get(`/api/pnl?limit=${HISTORY_POINTS}`),
    get("/api/grid"),
    get("/api/status"),
  ]);
  if (fills.status === 200) state.fills = fills.body.fills;
  if (points.status === 200) {
    const live = state.times.map((time, index) => [time, state.prices[index]]);
    state.times = [];
    state.prices = [];
    for (const point of points.body.pnl.reverse()) addPoint(toSeconds(point.time), point.price);
    for (const [seconds, price] of live) addPoint(seconds, price);
  }
  if (grid.status === 200) state.levels = grid.body.levels;
  if (status.status === 200) onStatus(status.body);
  changed();
}

export function start(renderer) {
  render = renderer;
  // WebSocket alone: one connection a page, and none of polling's text posts.
  const socket = io({ transports: ["websocket"], reconnectionDelayMax: 4000 });
  socket.on("connect", () => {
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
