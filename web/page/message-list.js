/**
 * The list of messages. Only a range of a long conversation is in the document. The range moves when the user
 * scrolls, and older messages are read when its beginning is near. The list follows new text at the end until
 * the user scrolls up.
 */

import { h } from "./dom.js";
import { MessageView } from "./message-view.js";

const INITIAL_COUNT = 30; // messages in the document when a conversation is opened
const STEP_COUNT = 8; // messages inserted in one frame while scrolling; few enough that no frame is late
const MAX_COUNT = 120; // messages in the document at most
const NEAR_SCREENS = 2; // distance from an edge, in screens, at which messages are inserted
const READ_AHEAD_COUNT = 50; // messages that are read before they are inserted
const END_PIXELS = 48; // distance from the end, in pixels, that counts as the end
const UNKNOWN_HEIGHTS = [Infinity, Infinity]; // of the last two frames in which only the end of the list grew

/** @typedef {import("./message.js").Message} Message */

export class MessageList extends EventTarget {
  /** @type {Map<Message, MessageView>} */ #views = new Map();
  /** @type {Message[]} */ #messages = [];
  #from = 0;
  #to = 0;
  #top = 0;
  #height = 0;
  #frameHeights = UNKNOWN_HEIGHTS;
  following = true;

  /** @param {HTMLElement} scroller @param {import("./message-view.js").Actions} actions
   * @param {() => Promise<void> | void} older */
  constructor(scroller, actions, older) {
    super();
    this.scroller = scroller;
    this.actions = actions;
    this.older = older;
    this.element = h("div", { class: "messages" });
    scroller.append(this.element);
    scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => this.#onResize()).observe(this.element);
    new ResizeObserver(() => this.#onResize()).observe(scroller);
  }

  /** Shows the end of these messages. @param {Message[]} messages */
  open(messages) {
    this.#messages = messages;
    this.element.replaceChildren();
    this.#views.clear();
    this.#to = messages.length;
    this.#from = Math.max(0, this.#to - INITIAL_COUNT);
    this.#insert(this.#from, this.#to, null);
    this.toEnd();
  }

  /** The list has `count` more messages at its beginning. @param {Message[]} messages @param {number} count */
  prepended(messages, count) {
    this.#messages = messages;
    this.#from += count;
    this.#to += count;
    this.#updateRange();
  }

  /** The list has more messages at its end. @param {Message[]} messages @param {boolean} follow */
  added(messages, follow) {
    this.#messages = messages;
    if (follow && this.#to < messages.length - INITIAL_COUNT) return this.open(messages);
    if (follow) this.following = true;
    if (this.following) {
      this.#insert(this.#to, messages.length, null);
      this.#to = messages.length;
      this.#trimTop();
      this.toEnd();
    }
  }

  /** @param {Message} message */
  changed(message) {
    this.#views.get(message)?.change();
  }

  /** @param {Message} message */
  view(message) {
    return this.#views.get(message);
  }

  toEnd() {
    this.following = true;
    if (this.#to < this.#messages.length) return this.open(this.#messages);
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.dispatchEvent(new Event("follow"));
  }

  /** Scrolls to a message and gives it the focus. @param {Message} message */
  reveal(message) {
    const at = this.#messages.indexOf(message);
    this.following = false;
    this.element.replaceChildren();
    this.#views.clear();
    this.#from = Math.max(0, at - INITIAL_COUNT / 2);
    this.#to = Math.min(this.#messages.length, at + INITIAL_COUNT / 2);
    this.#insert(this.#from, this.#to, null);
    const element = this.#views.get(message)?.element;
    element?.setAttribute("tabindex", "-1");
    element?.scrollIntoView({ block: "center" });
    element?.focus({ preventScroll: true });
    this.dispatchEvent(new Event("follow"));
  }

  #insert(/** @type {number} */ from, /** @type {number} */ to, /** @type {Element | null} */ before) {
    this.#frameHeights = UNKNOWN_HEIGHTS;
    const fragment = document.createDocumentFragment();
    for (const message of this.#messages.slice(from, to)) {
      const view = new MessageView(message, this.actions);
      this.#views.set(message, view);
      fragment.append(view.element);
    }
    this.element.insertBefore(fragment, before);
  }

  #remove(/** @type {number} */ from, /** @type {number} */ to) {
    this.#frameHeights = UNKNOWN_HEIGHTS;
    for (const message of this.#messages.slice(from, to)) {
      this.#views.get(message)?.element.remove();
      this.#views.delete(message);
    }
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    // Compares with the end that was visible, because the list may have grown since then.
    const seen = scrollTop > this.#top ? Math.min(scrollHeight, this.#frameHeights[0]) : scrollHeight;
    const end = seen - clientHeight - scrollTop < END_PIXELS && this.#to === this.#messages.length;
    this.#frameHeights = [this.#frameHeights[1], scrollHeight];
    // Only scrolling up stops following. Growth at the end does not.
    const up = scrollTop < this.#top - 2 && scrollHeight >= this.#height;
    const following = end || (this.following && !up);
    [this.#top, this.#height] = [scrollTop, scrollHeight];
    if (following !== this.following) {
      this.following = following;
      this.dispatchEvent(new Event("follow"));
    }
    this.#updateRange();
  }

  #onResize() {
    this.#frameHeights = [this.#frameHeights[1], this.scroller.scrollHeight];
    if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
    else this.#updateRange();
  }

  /** Inserts near messages and removes far messages. The visible messages keep their position. */
  #updateRange() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const near = clientHeight * NEAR_SCREENS;
    if (scrollTop < near && this.#from > 0 && scrollHeight) {
      this.#keepPosition(() => {
        const from = Math.max(0, this.#from - STEP_COUNT);
        this.#insert(from, this.#from, this.element.firstElementChild);
        this.#from = from;
        const to = Math.min(this.#to, from + MAX_COUNT);
        this.#remove(to, this.#to);
        this.#to = to;
      });
    }
    if (scrollTop < near && this.#from < READ_AHEAD_COUNT) this.older();
    if (scrollHeight - scrollTop - clientHeight < near && this.#to < this.#messages.length) {
      this.#keepPosition(() => {
        const to = Math.min(this.#messages.length, this.#to + STEP_COUNT);
        this.#insert(this.#to, to, null);
        this.#to = to;
        this.#trimTop();
      });
    }
  }

  #trimTop() {
    const from = Math.max(this.#from, this.#to - MAX_COUNT);
    this.#remove(this.#from, from);
    this.#from = from;
  }

  /** @param {() => void} change */
  #keepPosition(change) {
    const edge = this.scroller.getBoundingClientRect().top;
    const kept = [...this.element.children].find((child) => child.getBoundingClientRect().bottom > edge);
    const before = kept?.getBoundingClientRect().top ?? 0;
    change();
    if (!kept?.isConnected) return;
    this.scroller.scrollTop += kept.getBoundingClientRect().top - before;
    [this.#top, this.#height] = [this.scroller.scrollTop, this.scroller.scrollHeight];
  }
}
