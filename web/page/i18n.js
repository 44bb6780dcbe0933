/** The language of the page: texts from `texts.js`; numbers, money and times from Intl. */

import { texts } from "./texts.js";

const KEY = "chat.language";
export const languages = Object.keys(texts);

/** Returns the first preferred language that has texts, or English.
 * @param {readonly (string | null | undefined)[]} preferred */
export function choose(preferred) {
  const found = preferred.map((tag) => tag?.toLowerCase().split("-")[0]).find((tag) => tag && languages.includes(tag));
  return found ?? "en";
}

/** @param {string} language */
export function createI18n(language) {
  const table = texts[/** @type {keyof typeof texts} */ (language)];
  const plurals = new Intl.PluralRules(language);
  const number = new Intl.NumberFormat(language);
  const short = new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 });
  const clock = new Intl.DateTimeFormat(language, { timeStyle: "short" });
  const full = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
  const date = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });
  const monthDay = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });

  return {
    language,
    /** Returns a text with each `{name}` replaced by its value. If the entry is an object of plural forms,
     * `count` selects the form.
     * @param {string} key @param {Record<string, string | number>} [values] @returns {string} */
    t(key, values = {}) {
      const entry = table[/** @type {keyof typeof table} */ (key)];
      if (entry === undefined) throw new Error(`no text for ${key}`);
      const text = typeof entry === "string" ? entry : pluralForm(entry, Number(values.count));
      return text.replace(/\{(\w+)\}/g, (_, name) =>
        typeof values[name] === "number" ? number.format(values[name]) : String(values[name] ?? ""),
      );
    },
    number: (/** @type {number} */ value) => number.format(value),
    short: (/** @type {number} */ value) => short.format(value),
    /** An amount in dollars: $12.34, and $0.00031 for less than a cent.
     * @param {string | number} value */
    money(value) {
      const amount = Number(value);
      const small = amount !== 0 && Math.abs(amount) < 0.01;
      const digits = small ? { maximumSignificantDigits: 2 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
      return new Intl.NumberFormat(language, { style: "currency", currency: "USD", ...digits }).format(amount);
    },
    /** The time of day, and the date unless it is today. @param {string} moment */
    time(moment, now = new Date()) {
      const then = new Date(moment);
      return (then.toDateString() === now.toDateString() ? clock : full).format(then);
    },
    clock: (/** @type {string | number} */ moment) => clock.format(new Date(moment)),
    moment: (/** @type {string} */ moment) => full.format(new Date(moment)),
    date: (/** @type {string} */ day) => date.format(new Date(day)),
    day: (/** @type {string} */ day) => monthDay.format(new Date(day)),
  };

  function pluralForm(/** @type {Record<string, string>} */ entry, /** @type {number} */ count) {
    return entry[plurals.select(count)] ?? entry.other;
  }
}

const stored = () => {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
};

/** @param {string} language */
export function saveLanguage(language) {
  localStorage.setItem(KEY, language);
}

const preferences = globalThis.document ? [stored(), ...navigator.languages] : [];
export const i18n = createI18n(choose(preferences));
export const { t } = i18n;
