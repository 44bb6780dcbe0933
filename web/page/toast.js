/** A short word at the edge of the page, with something to do about it. It waits while it is pointed at or has
 * the focus. */

import { byId, h, iconButton } from "./dom.js";
import { t } from "./i18n.js";

const STAYS_MS = 8000;

/** @param {string} text @param {{ label: string, act: () => void, otherwise: () => void }} [choice] `otherwise`
 * is what happens when nobody has chosen to act */
export function toast(text, choice) {
  let timer = 0;
  const element = h("div", { class: "toast" }, h("p", { dir: "auto" }, text));
  const end = (/** @type {(() => void) | undefined} */ then) => {
    clearTimeout(timer);
    if (!element.isConnected) return;
    const focused = element.contains(document.activeElement);
    element.remove();
    // Not lost with the button that had it.
    if (focused) byId("message").focus();
    then?.();
  };
  const dismiss = () => end(choice?.otherwise);
  const hold = () => clearTimeout(timer);
  const wait = () => {
    hold();
    timer = window.setTimeout(dismiss, STAYS_MS);
  };

  if (choice) {
    const onclick = () => end(choice.act);
    element.append(h("button", { type: "button", class: "quiet", onclick }, choice.label));
  }
  element.append(iconButton("close", t("dismiss"), dismiss));
  for (const type of ["pointerenter", "focusin"]) element.addEventListener(type, hold);
  for (const type of ["pointerleave", "focusout"]) element.addEventListener(type, wait);
  byId("toasts").append(element);
  wait();
}
