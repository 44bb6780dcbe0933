/** Connects the parts of the page, and opens the conversation that the address names. */

import { createChatClient } from "../chat-client.js";
import { createApi } from "./api.js";
import { createConversationView } from "./conversation-view.js";
import { Conversations } from "./conversations.js";
import { createSettings, createSignIn, createUsageDialog } from "./dialogs.js";
import { byId } from "./dom.js";
import { download } from "./download.js";
import { i18n, t } from "./i18n.js";
import { createTabStorage } from "./tab-storage.js";
import { createDrawer } from "./drawer.js";
import { createSearch } from "./search.js";
import { Session } from "./session.js";
import { createSidebar } from "./sidebar.js";
import { Thread } from "./thread.js";
import { toast } from "./toast.js";
import { createUsageView } from "./usage-view.js";

// Successive attempts to connect, over some minutes. After that the user can retry.
const RETRIES = 30;

const session = new Session();
translate();

const api = createApi(session);
const client = createChatClient({ getToken: session.getToken, fetch: fetchTurn, retries: RETRIES });
const tabStorage = createTabStorage();
const conversations = new Conversations(api);
const thread = new Thread(api, client, tabStorage);
const signIn = createSignIn(session, api);
const view = createConversationView(thread, tabStorage, signIn);
const sidebar = createSidebar(conversations, { remove, rename });
const drawer = createDrawer();
const otherTabs = new BroadcastChannel("chat");

createSearch(api, hasToken, view.say);
createSettings(session, signIn);
createUsageDialog(createUsageView(api, hasToken));

thread.addEventListener("started", () => {
  view.setConversation(/** @type {string} */ (thread.id));
  history.replaceState(null, "", `#c=${thread.id}`);
  changed();
});
thread.addEventListener("settled", changed);
conversations.addEventListener("change", drawTitle);
session.addEventListener("change", () => {
  conversations.clear();
  refreshList();
  if (session.token) route();
  else show(null);
});
otherTabs.addEventListener("message", ({ data }) => {
  refreshList();
  if (data.id === thread.id) thread.refresh().catch(() => {});
});
addEventListener("hashchange", () => route());
addEventListener("online", () => {
  showConnection();
  const answer = thread.messages.at(-1);
  if (answer?.error?.code === "connection_lost") thread.retry(answer);
  else thread.refresh().catch(() => {});
  refreshList();
});
addEventListener("offline", showConnection);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  refreshList();
  thread.refresh().catch(() => {});
});
byId("new-chat").addEventListener("click", () => show(null));
byId("export").addEventListener("click", save);
// Following the link would replace the conversation in the address.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  byId("message").focus();
});

sidebar.draw();
refreshList();
showConnection();
route();
document.documentElement.dataset.ready = "true";

/** Opens the conversation (`#c=`) and the message (`&m=`) in the address. `#token=` has a token. */
function route({ focus = true } = {}) {
  const params = new URLSearchParams(location.hash.slice(1));
  if (params.has("token")) return location.reload();
  const id = params.get("c");
  sidebar.open(id);
  drawer.close();
  view.open(id, params.get("m"), focus);
  if (id && hasToken()) conversations.load(id);
  drawTitle();
}

/** @param {string | null} id @param {{ focus?: boolean }} [options] whether the message field gets the focus */
function show(id, options) {
  history.pushState(null, "", id ? `#c=${id}` : location.pathname + location.search);
  route(options);
}

function drawTitle() {
  const title = thread.id ? (conversations.get(thread.id)?.title ?? t("untitled")) : t("newChat");
  byId("title").textContent = title;
  document.title = thread.id ? `${title} – ${t("name")}` : t("name");
  byId("export").hidden = thread.id === null;
  sidebar.open(thread.id);
}

function hasToken() {
  return session.token !== null;
}

/** Without a token there are no conversations. */
function refreshList() {
  if (hasToken()) conversations.refresh();
}

function changed() {
  refreshList();
  otherTabs.postMessage({ id: thread.id });
}

/** Shortens a title for a toast. @param {string} title */
function shorten(title) {
  const characters = Array.from(title);
  return characters.length > 40 ? `${characters.slice(0, 39).join("").trim()}…` : title;
}

/** @param {string} id */
function remove(id) {
  const title = shorten(conversations.get(id)?.title ?? t("untitled"));
  const wasOpen = thread.id === id;
  conversations.hide(id);
  if (wasOpen) show(null, { focus: false });
  const act = () => {
    conversations.restore(id);
    if (wasOpen) show(id);
  };
  const onDismiss = () =>
    conversations.remove(id).then(
      () => otherTabs.postMessage({ id }),
      () => toast(t("deleteFailed", { title })),
    );
  toast(t("deleted", { title }), { label: t("undo"), act, onDismiss });
}

/** @param {string} id @param {string} title */
function rename(id, title) {
  conversations.rename(id, title).then(
    () => otherTabs.postMessage({ id }),
    () => toast(t("renameFailed")),
  );
}

/** Downloads the open conversation. */
function save() {
  const { id } = thread;
  const name = `${(byId("title").textContent ?? "").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}.md`;
  if (id) api.export(id).then((file) => download(file, name), () => toast(t("exportFailed")));
}

function showConnection() {
  document.body.dataset.online = String(navigator.onLine);
  byId("connection").textContent = navigator.onLine ? "" : t("youAreOffline");
}

/** A refused turn may be stored. Adds its ids, which are in the headers, to the error.
 * @param {RequestInfo | URL} url @param {RequestInit} [init] */
async function fetchTurn(url, init) {
  const response = await fetch(url, init);
  const messageId = response.headers.get("X-Message-Id");
  if (response.ok || !messageId) return response;
  const conversationId = response.headers.get("X-Conversation-Id");
  const body = { ...Object(await response.json().catch(() => null)), messageId, conversationId };
  return new Response(JSON.stringify(body), response);
}

/** Translates the texts in the document. */
function translate() {
  document.documentElement.lang = i18n.language;
  for (const element of document.querySelectorAll("[data-t]")) {
    element.textContent = t(/** @type {HTMLElement} */ (element).dataset.t ?? "");
  }
  for (const element of document.querySelectorAll("[data-t-label]")) {
    const label = t(/** @type {HTMLElement} */ (element).dataset.tLabel ?? "");
    element.setAttribute("aria-label", label);
    if (element.matches("button")) element.setAttribute("title", label);
  }
  for (const element of document.querySelectorAll("[data-t-placeholder]")) {
    element.setAttribute("placeholder", t(/** @type {HTMLElement} */ (element).dataset.tPlaceholder ?? ""));
  }
}
