/**
 * The messages on the page. Of a long conversation only a part is in the document: it moves as the reader
 * scrolls, and older messages are read when its beginning comes near. Stays at the end while text comes,
 * until the reader scrolls away.
 */

import { h } from "./dom.js";
import { MessageView } from "./message-view.js";

const FIRST = 30; // messages put in when a conversation is opened
const STEP = 8; // and at once while scrolling: so few that no frame is late
const MOST = 120; // messages in the document
const NEAR = 2; // screens from an edge, where more is put in
const AHEAD = 50; // messages that are read before they are put in
const AT_END = 48; // pixels from the end that still count as being there
const UNKNOWN = [Infinity, Infinity]; // heights of the last two frames in which nothing but the end grew

/** @typedef {import("./message.js").Message} Message */

export class MessageList extends EventTarget {
  /** @type {Map<Message, MessageView>} */ #views = new Map();
  /** @type {Message[]} */ #messages = [];
  #from = 0;
  #to = 0;
  #top = 0;
  #height = 0;
  #drawn = UNKNOWN;
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
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#keepEnd()).observe(this.element);
    new ResizeObserver(() => this.#keepEnd()).observe(scroller);
  }

  /** Shows these messages, from their end. @param {Message[]} messages */
  open(messages) {
    this.#messages = messages;
    this.element.replaceChildren();
    this.#views.clear();
    this.#to = messages.length;
    this.#from = Math.max(0, this.#to - FIRST);
    this.#put(this.#from, this.#to, null);
    this.toEnd();
  }

  /** The list has `count` more messages at its beginning. @param {Message[]} messages @param {number} count */
  prepended(messages, count) {
    this.#messages = messages;
    this.#from += count;
    this.#to += count;
    this.#fill();
  }

  /** The list has more messages at its end. @param {Message[]} messages @param {boolean} follow */
  added(messages, follow) {
    this.#messages = messages;
    if (follow && this.#to < messages.length - FIRST) return this.open(messages);
    if (follow) this.following = true;
    if (this.following) {
      this.#put(this.#to, messages.length, null);
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
    this.#from = Math.max(0, at - FIRST / 2);
    this.#to = Math.min(this.#messages.length, at + FIRST / 2);
    this.#put(this.#from, this.#to, null);
    const element = this.#views.get(message)?.element;
    element?.setAttribute("tabindex", "-1");
    element?.scrollIntoView({ block: "center" });
    element?.focus({ preventScroll: true });
    this.dispatchEvent(new Event("follow"));
  }

  #put(/** @type {number} */ from, /** @type {number} */ to, /** @type {Element | null} */ before) {
    this.#drawn = UNKNOWN;
    const fragment = document.createDocumentFragment();
    for (const message of this.#messages.slice(from, to)) {
      const view = new MessageView(message, this.actions);
      this.#views.set(message, view);
      fragment.append(view.element);
    }
    this.element.insertBefore(fragment, before);
  }

  #drop(/** @type {number} */ from, /** @type {number} */ to) {
    this.#drawn = UNKNOWN;
    for (const message of this.#messages.slice(from, to)) {
      this.#views.get(message)?.element.remove();
      this.#views.delete(message);
    }
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    // Who scrolls down aims at the end they see, and more may have come since it was drawn.
    const seen = scrollTop > this.#top ? Math.min(scrollHeight, this.#drawn[0]) : scrollHeight;
    const end = seen - clientHeight - scrollTop < AT_END && this.#to === this.#messages.length;
    this.#drawn = [this.#drawn[1], scrollHeight];
    // Only who scrolls up lets go; what grows below moves nobody.
    const up = scrollTop < this.#top - 2 && scrollHeight >= this.#height;
    const following = end || (this.following && !up);
    [this.#top, this.#height] = [scrollTop, scrollHeight];
    if (following !== this.following) {
      this.following = following;
      this.dispatchEvent(new Event("follow"));
    }
    this.#fill();
  }

  #keepEnd() {
    this.#drawn = [this.#drawn[1], this.scroller.scrollHeight];
    if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
    else this.#fill();
  }

  /** Puts in what is near, takes out what is far, and keeps in place what is being read. */
  #fill() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const near = clientHeight * NEAR;
    if (scrollTop < near && this.#from > 0 && scrollHeight) {
      this.#inPlace(() => {
        const from = Math.max(0, this.#from - STEP);
        this.#put(from, this.#from, this.element.firstElementChild);
        this.#from = from;
        const to = Math.min(this.#to, from + MOST);
        this.#drop(to, this.#to);
        this.#to = to;
      });
    }
    if (scrollTop < near && this.#from < AHEAD) this.older();
    if (scrollHeight - scrollTop - clientHeight < near && this.#to < this.#messages.length) {
      this.#inPlace(() => {
        const to = Math.min(this.#messages.length, this.#to + STEP);
        this.#put(this.#to, to, null);
        this.#to = to;
        this.#trimTop();
      });
    }
  }

  #trimTop() {
    const from = Math.max(this.#from, this.#to - MOST);
    this.#drop(this.#from, from);
    this.#from = from;
  }

  /** @param {() => void} change */
  #inPlace(change) {
    const edge = this.scroller.getBoundingClientRect().top;
    const kept = [...this.element.children].find((child) => child.getBoundingClientRect().bottom > edge);
    const before = kept?.getBoundingClientRect().top ?? 0;
    change();
    if (!kept?.isConnected) return;
    this.scroller.scrollTop += kept.getBoundingClientRect().top - before;
    [this.#top, this.#height] = [this.scroller.scrollTop, this.scroller.scrollHeight];
  }
}
