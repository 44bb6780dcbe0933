/** Creates elements. This module never parses markup. */

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  edit: "M4 20h4L19 9l-4-4L4 16v4M13 7l4 4",
  trash: "M5 7h14M10 11v6M14 11v6M7 7l1 13h8l1-13M9 7V4h6v3",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  done: "M5 13l4 4L19 7",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
};

/**
 * Creates an element. Properties whose names begin with "on" are listeners, `data` is an object of data
 * attributes, all others are attributes. Properties that are null, undefined or false are omitted.
 * @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string | null | undefined)} children
 * @returns {any}
 */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Creates an SVG element, like `h`. @param {string} tag @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | undefined)} children @returns {any} */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** A button with an icon. `label` is its accessible name and its tooltip.
 * @param {keyof typeof ICONS} name @param {string} label @param {() => void} onclick
 * @param {Record<string, any>} [properties] */
export function iconButton(name, label, onclick, properties = {}) {
  const attributes = { type: "button", class: "icon-button", title: label, "aria-label": label, onclick };
  return h("button", { ...attributes, ...properties }, icon(name));
}

/** @param {Element} element @param {Record<string, any>} properties @param {any[]} children */
function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(/** @type {any} */ (element).dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);
