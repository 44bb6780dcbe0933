/** Rows as CSV (RFC 4180), safe to open in a spreadsheet. */

// Spreadsheets treat these cells as formulas, also after white space and with full-width characters.
const FORMULA = /^[\s\u00a0]*[=+\-@\t\r＝＋－＠]/;
const NUMBER = /^-?\d+(\.\d+)?$/;

/** @param {unknown} value */
function cell(value) {
  let text = String(value ?? "");
  if (FORMULA.test(text) && !NUMBER.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {unknown[][]} rows the first row has the column names */
export function toCsv(rows) {
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}
