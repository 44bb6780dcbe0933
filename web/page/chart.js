/** Bar charts as inline SVG. Screen readers get one image, because a table has the same figures. */

import { s } from "./dom.js";

const HEIGHT = 200;
const LABEL_HEIGHT = 22;
const SCALE_WIDTH = 64;
const LABEL_DISTANCE = 72; // minimum

/**
 * @param {{ name: string, value: number, title: string }[]} bars
 * @param {{ label: string, width: number, format: (value: number) => string }} options width in pixels
 */
export function barChart(bars, { label, width, format }) {
  const top = scaleTop(Math.max(0, ...bars.map(({ value }) => value)));
  const height = (/** @type {number} */ value) => (top ? (value / top) * (HEIGHT - LABEL_HEIGHT - 10) : 0);
  const base = HEIGHT - LABEL_HEIGHT;
  const step = (width - SCALE_WIDTH) / Math.max(1, bars.length);
  const labelEvery = Math.ceil(LABEL_DISTANCE / step);
  const lines = [0, 0.5, 1].map((part) => {
    const y = base - height(top * part);
    return s(
      "g",
      { class: "scale" },
      s("line", { x1: SCALE_WIDTH, x2: width, y1: y, y2: y }),
      s("text", { x: SCALE_WIDTH - 8, y: y + 4, "text-anchor": "end" }, format(top * part)),
    );
  });
  const columns = bars.map(({ name, value, title }, index) => {
    const x = SCALE_WIDTH + index * step;
    const barHeight = value > 0 ? Math.max(2, height(value)) : 0;
    const barWidth = Math.min(40, step * 0.72);
    const bar = { x: x + (step - barWidth) / 2, y: base - barHeight, width: barWidth, height: barHeight, rx: Math.min(3, barWidth / 3) };
    return s(
      "g",
      { class: "bar" },
      s("title", {}, title),
      s("rect", { class: "hit", x, y: 0, width: step, height: base }),
      s("rect", bar),
      (bars.length - 1 - index) % labelEvery ? null : s("text", { x: x + step / 2, y: HEIGHT - 4, "text-anchor": "middle" }, name),
    );
  });
  return s("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, ...lines, ...columns);
}

/** The top of the scale: a round number not less than the greatest value. @param {number} value */
function scaleTop(value) {
  if (value <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10);
}
