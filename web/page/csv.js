/** Rows as CSV (RFC 4180), safe to open in a spreadsheet. */

// What a spreadsheet would take for a formula, white space and full-width forms before it included.
const FORMULA = /^[\s\u00a0]*[=+\-@\t\r＝＋－＠]/;
const NUMBER = /^-?\d+(\.\d+)?$/;

/** @param {unknown} value */
function cell(value) {
  let text = String(value ?? "");
  if (FORMULA.test(text) && !NUMBER.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {unknown[][]} rows the first of them the names of the columns */
export function toCsv(rows) {
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}
