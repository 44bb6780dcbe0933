/** Bars, drawn as inline SVG. What they say is also in a table beside them: they are one image to a reader. */

import { s } from "./dom.js";

const HEIGHT = 200;
const BELOW = 22; // for the names of the days
const LEFT = 64; // for the scale
const APART = 72; // from one name to the next

/**
 * @param {{ name: string, value: number, title: string }[]} bars
 * @param {{ label: string, width: number, format: (value: number) => string }} given width in pixels
 */
export function barChart(bars, { label, width, format }) {
  const top = nice(Math.max(0, ...bars.map(({ value }) => value)));
  const height = (/** @type {number} */ value) => (top ? (value / top) * (HEIGHT - BELOW - 10) : 0);
  const base = HEIGHT - BELOW;
  const step = (width - LEFT) / Math.max(1, bars.length);
  const every = Math.ceil(APART / step);
  const lines = [0, 0.5, 1].map((part) => {
    const y = base - height(top * part);
    return s(
      "g",
      { class: "scale" },
      s("line", { x1: LEFT, x2: width, y1: y, y2: y }),
      s("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, format(top * part)),
    );
  });
  const columns = bars.map(({ name, value, title }, index) => {
    const x = LEFT + index * step;
    const tall = value > 0 ? Math.max(2, height(value)) : 0;
    const thick = Math.min(40, step * 0.72);
    const bar = { x: x + (step - thick) / 2, y: base - tall, width: thick, height: tall, rx: Math.min(3, thick / 3) };
    return s(
      "g",
      { class: "bar" },
      s("title", {}, title),
      s("rect", { class: "hit", x, y: 0, width: step, height: base }),
      s("rect", bar),
      (bars.length - 1 - index) % every ? null : s("text", { x: x + step / 2, y: HEIGHT - 4, "text-anchor": "middle" }, name),
    );
  });
  return s("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, ...lines, ...columns);
}

/** The end of the scale: a round number not below the greatest value. @param {number} value */
function nice(value) {
  if (value <= 0) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10);
}
