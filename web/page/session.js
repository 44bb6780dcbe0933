/**
 * The user's token, which is only in memory and in this tab's session storage.
 * A token in the fragment (`#token=…`) is taken over, and removed from the address.
 */

import { responseError } from "./response-error.js";

const KEY = "chat.session";

/** @typedef {{ token: string, anonymous: boolean }} Credentials */

export class Session extends EventTarget {
  /** @type {Credentials | null} */
  #credentials = null;
  /** @type {Promise<string> | null} */
  #signingIn = null;
  /** Whether the server has refused the token. The user must sign in. */
  expired = false;

  constructor(storage = sessionStorage, address = location) {
    super();
    this.storage = storage;
    const fragmentToken = new URLSearchParams(address.hash.slice(1)).get("token");
    if (fragmentToken !== null) history.replaceState(null, "", address.pathname + address.search);
    this.#credentials = fragmentToken ? credentials(fragmentToken) : read(storage);
    if (fragmentToken) this.#save();
  }

  get token() {
    return this.#credentials?.token ?? null;
  }

  get anonymous() {
    return this.#credentials?.anonymous ?? false;
  }

  /** For `createChatClient`. Without a token, signs the visitor in as an anonymous user. */
  getToken = async ({ refresh = false } = {}) => {
    if (refresh) {
      this.expired = true;
      return null;
    }
    if (this.token || this.expired) return this.token;
    this.#signingIn ??= this.#signInAnonymously().finally(() => (this.#signingIn = null));
    return this.#signingIn;
  };

  /** Sets a token that the server accepts. @param {string} token */
  setToken(token) {
    this.#credentials = credentials(token);
    this.expired = false;
    this.#save();
  }

  /** Emits `change`. Called after `setToken`, when the guest's conversations are transferred. */
  emitChange() {
    this.dispatchEvent(new Event("change"));
  }

  signOut() {
    this.#credentials = null;
    this.expired = false;
    this.storage.clear();
    this.emitChange();
  }

  async #signInAnonymously() {
    const response = await fetch("/auth/anonymous", { method: "POST", cache: "no-store" });
    if (response.status === 403) this.expired = true;
    if (!response.ok) throw await responseError(response);
    const { token } = await response.json();
    this.setToken(token);
    return token;
  }

  #save() {
    this.storage.setItem(KEY, JSON.stringify(this.#credentials));
  }
}

/** @param {string} token @returns {Credentials} */
function credentials(token) {
  return { token: token.trim(), anonymous: claims(token).is_anonymous === true };
}

/** The unverified claims of a token. The page only uses them to show whether the user is a guest. */
function claims(/** @type {string} */ token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return Object(JSON.parse(atob(part)));
  } catch {
    return {};
  }
}

/** @param {Storage} storage @returns {Credentials | null} */
function read(storage) {
  try {
    return JSON.parse(storage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}
