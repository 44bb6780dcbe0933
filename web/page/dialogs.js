/** The dialogs: sign-in, settings, usage. The browser keeps the focus in a dialog and restores it afterwards. */

import { byId, h } from "./dom.js";
import { i18n, languages, saveLanguage, t } from "./i18n.js";
import { explain } from "./message-view.js";
import { toast } from "./toast.js";

/** @param {string} id */
function dialog(id) {
  const element = byId(id);
  element.querySelector(".close").addEventListener("click", () => element.close());
  element.addEventListener("click", (/** @type {MouseEvent} */ event) => event.target === element && element.close());
  return element;
}

/**
 * @param {import("./session.js").Session} session @param {ReturnType<typeof import("./api.js").createApi>} api
 */
export function createSignIn(session, api) {
  const element = dialog("sign-in");
  const form = byId("sign-in-form");
  const field = byId("token");
  const problem = byId("sign-in-problem");

  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    const token = field.value.trim();
    problem.textContent = "";
    if (!token) return;
    try {
      // A header can have only these characters, so other text is not a token.
      if (!/^[\x21-\x7e]+$/.test(token)) throw { code: "unauthorized" };
      await api.check(token);
    } catch (error) {
      const { code } = /** @type {any} */ (error);
      problem.textContent = code === "unauthorized" ? t("tokenRefused") : explain(/** @type {any} */ (error));
      return field.focus();
    }
    const guest = session.anonymous && byId("claim").checked ? session.token : null;
    element.close();
    await claim(token, guest);
  });

  /** @param {string} token @param {string | null} guest */
  async function claim(token, guest) {
    session.setToken(token);
    try {
      if (guest) toast(t("claimed", { count: (await api.claim(guest)).claimed }));
    } catch {
      toast(t("claimFailed"));
    }
    session.emitChange();
  }

  return () => {
    form.reset();
    problem.textContent = "";
    byId("claim-row").hidden = !session.anonymous;
    element.showModal();
  };
}

/** @param {import("./session.js").Session} session @param {() => void} signIn */
export function createSettings(session, signIn) {
  const element = dialog("settings");
  const theme = byId("theme");
  const language = byId("language");
  theme.value = document.documentElement.dataset.theme ?? "system";
  theme.addEventListener("change", () => {
    const chosen = theme.value;
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    localStorage.setItem("chat.theme", chosen);
  });
  for (const code of languages) {
    const name = new Intl.DisplayNames(code, { type: "language" }).of(code);
    language.append(h("option", { value: code, lang: code }, name));
  }
  language.value = i18n.language;
  language.addEventListener("change", () => {
    saveLanguage(language.value);
    // The reload shows all texts in the new language. A running answer is resumed.
    location.reload();
  });
  byId("settings-sign-in").addEventListener("click", () => {
    element.close();
    signIn();
  });
  byId("sign-out").addEventListener("click", () => {
    element.close();
    session.signOut();
  });
  byId("open-settings").addEventListener("click", () => {
    byId("who").textContent = t(session.token ? (session.anonymous ? "asGuest" : "signedIn") : "notSignedIn");
    byId("sign-out").hidden = !session.token;
    element.showModal();
  });
}

/** @param {{ open: () => void }} view */
export function createUsageDialog(view) {
  const element = dialog("usage");
  byId("open-usage").addEventListener("click", () => {
    element.showModal();
    view.open();
  });
}
