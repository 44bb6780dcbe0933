/**
 * Who is asking: the token, in memory and in this tab's session storage, nowhere else.
 * A token that is handed over in the fragment (`#token=…`) is taken, and gone from the address at once.
 */

import { refusal } from "./refusal.js";

const KEY = "chat.session";

/** @typedef {{ token: string, anonymous: boolean }} Credentials */

export class Session extends EventTarget {
  /** @type {Credentials | null} */
  #credentials = null;
  /** @type {Promise<string> | null} */
  #signingIn = null;
  /** The token was refused: what the page asks for waits until somebody signs in. */
  expired = false;

  constructor(storage = sessionStorage, address = location) {
    super();
    this.storage = storage;
    const handed = new URLSearchParams(address.hash.slice(1)).get("token");
    if (handed !== null) history.replaceState(null, "", address.pathname + address.search);
    this.#credentials = handed ? credentials(handed) : read(storage);
    if (handed) this.#keep();
  }

  get token() {
    return this.#credentials?.token ?? null;
  }

  get anonymous() {
    return this.#credentials?.anonymous ?? false;
  }

  /** What `createChatClient` asks for. Without a token the visitor becomes an anonymous user, once. */
  getToken = async ({ refresh = false } = {}) => {
    if (refresh) {
      this.expired = true;
      return null;
    }
    if (this.token || this.expired) return this.token;
    this.#signingIn ??= this.#signInAnonymously().finally(() => (this.#signingIn = null));
    return this.#signingIn;
  };

  /** Takes a token that is known to be good. @param {string} token */
  adopt(token) {
    this.#credentials = credentials(token);
    this.expired = false;
    this.#keep();
  }

  /** Tells that it is somebody else now, when what was theirs before is. */
  changed() {
    this.dispatchEvent(new Event("change"));
  }

  forget() {
    this.#credentials = null;
    this.expired = false;
    this.storage.clear();
    this.changed();
  }

  async #signInAnonymously() {
    const response = await fetch("/auth/anonymous", { method: "POST", cache: "no-store" });
    if (response.status === 403) this.expired = true;
    if (!response.ok) throw await refusal(response);
    const { token } = await response.json();
    this.adopt(token);
    return token;
  }

  #keep() {
    this.storage.setItem(KEY, JSON.stringify(this.#credentials));
  }
}

/** @param {string} token @returns {Credentials} */
function credentials(token) {
  return { token: token.trim(), anonymous: claims(token).is_anonymous === true };
}

/** What a token says of itself; nothing is believed of it but how the page speaks of its bearer. */
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
