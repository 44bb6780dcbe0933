/** Usage and cost by day and by model, as charts, tables and CSV files. */

import { barChart } from "./chart.js";
import { toCsv } from "./csv.js";
import { byId, h, icon } from "./dom.js";
import { download } from "./download.js";
import { i18n, t } from "./i18n.js";
import { explain } from "./message-view.js";

const DAY_MS = 86_400_000;
const FIGURES = ["turns", "tokens_in", "tokens_out", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning", "cost_usd"];

/** @param {ReturnType<typeof import("./api.js").createApi>} api @param {() => boolean} hasToken */
export function createUsageView(api, hasToken) {
  const view = byId("usage-content");
  const period = byId("usage-period");
  const measure = byId("usage-measure");

  /** @type {any[]} */
  let reports = [];
  let width = 0;
  let requests = 0;

  async function open() {
    requests += 1;
    const request = requests;
    const days = Number(period.value);
    const from = dayBefore(days - 1);
    view.dataset.state = "loading";
    try {
      const [byDay, byModel] = await Promise.all(hasToken() ? [api.usage("day", from), api.usage("model", from)] : []);
      // Another period was chosen meanwhile.
      if (request !== requests) return;
      reports = [byDay, byModel, days];
      draw();
    } catch (error) {
      if (request !== requests) return;
      reports = [];
      view.replaceChildren(h("p", { class: "notice" }, explain(/** @type {any} */ (error))));
      view.dataset.state = "failed";
    }
  }

  function draw() {
    const [byDay, byModel, days] = reports;
    width = view.clientWidth;
    const nothing = h("p", { class: "hint" }, t("noUsage"));
    if (!byDay) view.replaceChildren(nothing);
    else if (byDay.rows.length) view.replaceChildren(...sections(byDay, byModel, days));
    else view.replaceChildren(...(byDay.budget ? [budget(byDay.budget)] : []), nothing);
    view.dataset.state = "ready";
  }

  /** @param {any} byDay @param {any} byModel @param {number} days */
  function sections(byDay, byModel, days) {
    const rows = new Map(byDay.rows.map((/** @type {any} */ row) => [row.day, row]));
    const all = Array.from({ length: days }, (_, index) => {
      const day = dayBefore(days - 1 - index);
      return { day, ...(rows.get(day) ?? Object.fromEntries(FIGURES.map((figure) => [figure, 0]))) };
    });
    const { value, format } = measures[/** @type {"cost"} */ (measure.value)];
    const bars = all.map((row) => ({
      name: i18n.day(row.day),
      value: value(row),
      title: `${i18n.date(row.day)}: ${format(value(row))}`,
    }));
    const greatest = Math.max(0, ...byModel.rows.map(value));
    return [
      totals(byDay),
      ...(byDay.budget ? [budget(byDay.budget)] : []),
      section("byDay", barChart(bars, { label: t("chartByDay"), width: Math.max(240, width), format }), "day", byDay.rows, (row) => i18n.date(row.day), (row) => [row.day]),
      section(
        "byModel",
        h("div", { class: "models", "aria-hidden": "true" }, ...byModel.rows.map((/** @type {any} */ row) => modelBar(row, value(row), greatest, format))),
        "model",
        byModel.rows,
        nameOf,
        (row) => [nameOf(row)],
      ),
    ];
  }

  period.addEventListener("change", open);
  measure.addEventListener("change", draw);
  // Redraws the chart for a new width, so that the size of its text stays the same.
  new ResizeObserver(() => reports.length && view.clientWidth && view.clientWidth !== width && draw()).observe(view);
  return { open };
}

const measures = {
  cost: { value: (/** @type {any} */ row) => Number(row.cost_usd), format: i18n.money },
  tokens: { value: (/** @type {any} */ row) => row.tokens_in + row.tokens_out, format: i18n.short },
};

const nameOf = (/** @type {any} */ row) => `${row.provider}/${row.model}`;

/** @param {any} report */
function totals({ totals: sum }) {
  const facts = [
    ["cost", i18n.money(sum.cost_usd)],
    ["answers", i18n.number(sum.turns)],
    ["tokensIn", i18n.number(sum.tokens_in)],
    ["tokensOut", i18n.number(sum.tokens_out)],
  ];
  return h("dl", { class: "totals" }, ...facts.map(([key, value]) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, value))));
}

/** @param {any} budget */
function budget({ limit_usd, left_usd, renews_at }) {
  const used = Number(limit_usd) - Number(left_usd);
  const values = { left: i18n.money(left_usd), limit: i18n.money(limit_usd), time: i18n.clock(renews_at) };
  const text = t("budgetLeft", values);
  return h(
    "p",
    { class: "budget" },
    h("meter", { min: 0, max: limit_usd, value: used, high: Number(limit_usd) * 0.8, "aria-label": t("budget") }),
    h("span", {}, text),
  );
}

/** @param {any} row @param {number} value @param {number} greatest @param {(value: number) => string} format */
function modelBar(row, value, greatest, format) {
  const fill = h("span", { class: "fill" });
  fill.style.inlineSize = `${greatest ? Math.max(1, (value / greatest) * 100) : 0}%`;
  return h("div", { class: "model" }, h("span", {}, nameOf(row)), h("span", { class: "track" }, fill), h("span", {}, format(value)));
}

/**
 * @param {string} key @param {Node} drawing @param {string} firstColumn @param {any[]} rows
 * @param {(row: any) => string} name @param {(row: any) => string[]} csvCells
 */
function section(key, drawing, firstColumn, rows, name, csvCells) {
  const save = () => {
    const lines = rows.map((row) => [...csvCells(row), ...FIGURES.map((figure) => row[figure])]);
    download(new Blob(["\ufeff", toCsv([[firstColumn, ...FIGURES], ...lines])], { type: "text/csv" }), `usage-by-${firstColumn}.csv`);
  };
  const head = [firstColumn === "day" ? "day" : "modelName", "answers", "tokensIn", "tokensOut", "cost"];
  const line = (/** @type {any} */ row) => [i18n.number(row.turns), i18n.number(row.tokens_in), i18n.number(row.tokens_out), i18n.money(row.cost_usd)];
  const table = h(
    "table",
    {},
    h("caption", { class: "visually-hidden" }, t(key)),
    h("thead", {}, h("tr", {}, ...head.map((column) => h("th", { scope: "col" }, t(column))))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, h("th", { scope: "row" }, name(row)), ...line(row).map((text) => h("td", {}, text))))),
  );
  const button = h("button", { type: "button", class: "quiet", onclick: save, disabled: !rows.length }, icon("download"), t("exportCsv"));
  const frame = h("div", { class: "table", role: "group", tabindex: 0, "aria-label": t(key) }, table);
  const details = h("details", {}, h("summary", {}, t("asTable")), frame);
  return h("section", { data: { part: firstColumn } }, h("div", { class: "part-head" }, h("h3", {}, t(key)), button), drawing, details);
}

/** The server counts days in UTC. @param {number} days */
function dayBefore(days) {
  return new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10);
}
