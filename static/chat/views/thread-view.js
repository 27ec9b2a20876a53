// Shows a conversation. Keeps its end in view while an answer grows, unless the reader has scrolled up, and renders
// Markdown only for messages near the view.

import { MessageView } from "./message/message-view.js";

/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("./message/message-view.js").Actions} Actions */

/** Within this distance, the view counts as at the end. */
const NEAR_END_PX = 48;
const MARGIN = "1500px 0px";
/** Of the time, drawing may take so much: the rest of the page stays quick, and frames are not missed. */
const DRAWING_SHARE = 0.25;
/** But text comes at least so often, or drawing takes half of the time: much text at once makes a frame long. */
const MAX_WAIT_MS = 50;

export class ThreadView {
  #scroller;
  #list;
  #actions;
  /** @type {Map<string, MessageView>} */
  #views = new Map();
  /** The messages that changed since the last frame, by id. @type {Map<string, Message>} */
  #changed = new Map();
  #isFrameAsked = false;
  #isAtEnd = true;
  #lastTop = 0;
  #onEnd;
  #observer;
  /** The time of the next frame that draws; slow drawing postpones it. */
  #notBefore = 0;
  /** The time of the frame that drew last. */
  #drawnAt = 0;
  /** Its task comes after the frame in which it was posted has been laid out and painted. */
  #afterFrame = new MessageChannel();

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} list
   * @param {Actions} actions
   * @param {(isAtEnd: boolean) => void} onEnd
   */
  constructor(scroller, list, actions, onEnd) {
    this.#scroller = scroller;
    this.#list = list;
    this.#actions = actions;
    this.#onEnd = onEnd;
    this.#observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.#approach(target);
    }, { root: scroller, rootMargin: MARGIN });
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // A printed chat is whole.
    addEventListener("beforeprint", () => { for (const view of this.#views.values()) view.approach(); });
    // Keep the end in view when the height of the window, the box or the list changes.
    new ResizeObserver(() => { if (this.#isAtEnd) this.#goToEnd(); }).observe(scroller);
    new ResizeObserver(() => { if (this.#isAtEnd) this.#goToEnd(); }).observe(list);
    this.#afterFrame.port1.onmessage = ({ data: began }) => {
      const took = performance.now() - began;
      this.#notBefore = this.#drawnAt + Math.min(took / DRAWING_SHARE, Math.max(MAX_WAIT_MS, took));
    };
  }

  /**
   * Show these messages; those already shown keep their elements.
   * @param {Message[]} path
   */
  show(path) {
    const wanted = new Set(path.map(({ id }) => id));
    for (const [id, view] of this.#views) {
      if (wanted.has(id)) continue;
      this.#observer.unobserve(view.root);
      view.root.remove();
      this.#views.delete(id);
    }
    /** @type {ChildNode | null} */
    let next = this.#list.firstChild;
    for (const [index, message] of path.entries()) {
      let view = this.#views.get(message.id);
      if (view === undefined) {
        view = new MessageView(message, this.#actions);
        this.#views.set(message.id, view);
        // The last messages are in view at once and must not flicker.
        if (index >= path.length - 4) view.approach();
        else this.#observer.observe(view.root);
      } else {
        view.draw(message);
      }
      // What waits to be drawn may be an older copy of it.
      this.#changed.delete(message.id);
      if (view.root === next) next = next.nextSibling;
      else this.#list.insertBefore(view.root, next);
    }
  }

  /** Remove everything, for example to draw it in another language. */
  clear() {
    this.show([]);
  }

  /**
   * Draw a changed message with the next frame; returns whether it is shown here.
   * @param {Message} message
   */
  changed(message) {
    if (!this.#views.has(message.id)) return false;
    this.#changed.set(message.id, message);
    if (!this.#isFrameAsked) requestAnimationFrame((time) => this.#frame(time));
    this.#isFrameAsked = true;
    return true;
  }

  /** Edit the last question. */
  editLast() {
    const questions = /** @type {NodeListOf<HTMLElement>} */ (this.#list.querySelectorAll("article.user"));
    this.#views.get([...questions].at(-1)?.dataset.id ?? "")?.edit();
  }

  /** Scroll to the end and stay there. */
  goToEnd() {
    this.#isAtEnd = true;
    this.#onEnd(true);
    this.#goToEnd();
  }

  /** @param {number} time */
  #frame(time) {
    if (time < this.#notBefore) {
      requestAnimationFrame((later) => this.#frame(later));
      return;
    }
    this.#isFrameAsked = false;
    const began = performance.now();
    for (const [id, message] of this.#changed) this.#views.get(id)?.draw(message);
    this.#changed.clear();
    if (this.#isAtEnd) this.#goToEnd();
    this.#drawnAt = time;
    this.#afterFrame.port2.postMessage(began);
  }

  #goToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#lastTop = this.#scroller.scrollTop;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    // Only the reader scrolls up. Growing text moves the end away, which is not the reader's choice.
    const isUp = scrollTop < this.#lastTop - 1;
    this.#lastTop = scrollTop;
    const isAtEnd = isNear && !isUp ? true : isUp && !isNear ? false : this.#isAtEnd;
    if (isAtEnd !== this.#isAtEnd) {
      this.#isAtEnd = isAtEnd;
      this.#onEnd(isAtEnd);
    }
  }

  /** @param {Element} target */
  #approach(target) {
    this.#observer.unobserve(target);
    this.#views.get(/** @type {HTMLElement} */ (target).dataset.id ?? "")?.approach();
  }
}
