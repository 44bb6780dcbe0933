/** A short word at the edge of the page, with something to do about it. Waits while it is pointed at or has
 * the focus. */

import { byId, h, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const STAYS_MS = 8000;

/** @param {string} text @param {{ label: string, act: () => void }} [action] */
export function toast(text, action) {
  const element = h("div", { class: "toast" }, h("p", { dir: "auto" }, text));
  const end = () => element.remove();
  if (action) {
    const act = () => {
      end();
      action.act();
    };
    element.append(h("button", { type: "button", class: "quiet", onclick: act }, action.label));
  }
  element.append(iconButton("close", t("dismiss"), end));
  byId("toasts").append(element);
  setTimeout(end, STAYS_MS);
}
