// The price chart: uPlot for axes and line; the grid's levels and the fills are drawn around it.

import { Component, h } from "./vendor/htm-preact-3.1.1.standalone.module.js";

const MAX_LEVEL_LINES = 400;
const DAY_S = 86400;

function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    line: read("--gf-line"),
    buy: read("--gf-buy"),
    sell: read("--gf-sell"),
    dormant: read("--gf-dormant"),
    text: read("--gf-muted"),
    rule: read("--gf-rule"),
    back: read("--gf-card"),
  };
}

const isLong = (plot) => plot.scales.x.max - plot.scales.x.min > DAY_S;

function priceRange(data, levels) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of data) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  for (const level of levels.length ? [levels[0], levels[levels.length - 1]] : []) {
    low = Math.min(low, Number(level.price));
    high = Math.max(high, Number(level.price));
  }
  if (!Number.isFinite(low)) return [0, 1];
  const margin = (high - low || Math.abs(high) * 0.01 || 1) * 0.05;
  return [low - margin, high + margin];
}

export class Chart extends Component {
  shouldComponentUpdate(next) {
    this.props = next;
    this.update();
    return false;
  }

  componentDidMount() {
    this.colors = palette();
    this.shownAt = 0;
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onTheme = () => {
      this.colors = palette();
      this.build();
    };
    this.dark.addEventListener("change", this.onTheme);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.base);
    this.build();
  }

  componentWillUnmount() {
    this.dark.removeEventListener("change", this.onTheme);
    this.observer.disconnect();
    this.plot?.destroy();
  }

  size() {
    return { width: this.base.clientWidth || 600, height: this.base.clientHeight || 320 };
  }

  resize() {
    this.plot?.setSize(this.size());
  }

  update() {
    if (!this.plot) return;
    const { times, prices, levels, fills } = this.props;
    const last = times.length - 1;
    const mark = `${times.length}/${times[0]}/${times[last]}/${prices[last]}/${fills.length}/${
      fills[0]?.trade_id
    }`;
    if (mark === this.mark && levels === this.levels) return;
    this.mark = mark;
    this.levels = levels;
    this.plot.setData([times, prices]);
  }

  build() {
    this.plot?.destroy();
    const colors = this.colors;
    const axis = { stroke: colors.text, grid: { show: false }, ticks: { stroke: colors.rule } };
    const options = {
      ...this.size(),
      cursor: { y: false, points: { size: 6 } },
      legend: { show: false },
      padding: [10, 8, 0, 0],
      scales: {
        x: { range: (_, low, high) => (low === high ? [low - 60, high + 60] : [low, high]) },
        y: { range: (plot) => priceRange(plot.data[1], this.props.levels) },
      },
      axes: [
        {
          ...axis,
          size: (plot) => (isLong(plot) ? 50 : 34),
          values: (plot, splits) => {
            const wide = isLong(plot);
            return splits.map((seconds) => {
              const moment = new Date(seconds * 1000);
              const time = moment.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
              const day = moment.toLocaleDateString("en-GB", { day: "2-digit", month: "short" });
              return wide ? `${day}\n${time}` : time;
            });
          },
        },
        { ...axis, side: 1, size: 68, values: (_, splits) => splits.map((value) => String(value)) },
      ],
      series: [{}, { stroke: colors.line, width: 1.6, points: { show: false } }],
      hooks: {
        drawClear: [(plot) => this.drawLevels(plot)],
        draw: [(plot) => this.drawFills(plot), (plot) => this.drawPrice(plot)],
      },
    };
    this.plot = new window.uPlot(options, [this.props.times, this.props.prices], this.base);
    this.mark = null;
  }

  drawLevels(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.lineWidth = ratio;
    // Lines that stand close are drawn fainter, so that a fine grid stays a background.
    const faint = Math.min(1, bbox.height / ratio / Math.max(1, this.props.levels.length) / 9);
    for (const level of this.props.levels.slice(0, MAX_LEVEL_LINES)) {
      const y = Math.round(plot.valToPos(Number(level.price), "y", true)) + 0.5;
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      ctx.strokeStyle =
        level.side === "BUY"
          ? this.colors.buy
          : level.side === "SELL"
            ? this.colors.sell
            : this.colors.dormant;
      ctx.globalAlpha = faint * (level.side ? (level.role === "exit" ? 0.75 : 0.38) : 0.5);
      ctx.setLineDash(level.side ? [] : [2 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  }

  drawFills(plot) {
    const { ctx, bbox } = plot;
    const { min, max } = plot.scales.x;
    const size = 4.2 * devicePixelRatio;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.strokeStyle = this.colors.back;
    for (const fill of this.props.fills) {
      const seconds = Date.parse(fill.time) / 1000;
      if (seconds < min || seconds > max) continue;
      const x = plot.valToPos(seconds, "x", true);
      const y = plot.valToPos(Number(fill.price), "y", true);
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      const tip = fill.side === "BUY" ? -size : size;
      ctx.fillStyle = fill.side === "BUY" ? this.colors.buy : this.colors.sell;
      ctx.beginPath();
      ctx.moveTo(x, y + tip);
      ctx.lineTo(x - size, y - tip);
      ctx.lineTo(x + size, y - tip);
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    }
    ctx.restore();
  }

  drawPrice(plot) {
    const { prices } = this.props;
    if (prices.length === 0) return;
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    const value = prices[prices.length - 1];
    const y = plot.valToPos(value, "y", true);
    const right = bbox.left + bbox.width;
    ctx.save();
    ctx.strokeStyle = this.colors.line;
    ctx.lineWidth = ratio;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(right, y);
    ctx.stroke();
    ctx.font = `600 ${11 * ratio}px system-ui, sans-serif`;
    const text = this.props.price ?? String(value);
    const width = ctx.measureText(text).width + 10 * ratio;
    ctx.fillStyle = this.colors.line;
    ctx.fillRect(right + 2 * ratio, y - 9 * ratio, width, 18 * ratio);
    ctx.fillStyle = this.colors.back;
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    ctx.fillText(text, right + 7 * ratio, y + ratio);
    ctx.restore();
  }

  render() {
    return h("div", { class: "chart", id: "chart" });
  }
}
