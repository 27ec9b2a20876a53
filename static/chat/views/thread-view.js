// Shows the branch of a conversation, keeps its end in sight while an answer grows, unless the reader has scrolled away
// from it, and makes Markdown only of what is near. Does not know how a message looks.

import { MessageView } from "./message-view.js";

/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("./message-view.js").Actions} Actions */

/** So near the end counts as at it. */
const NEAR_END_PX = 48;
const MARGIN = "1500px 0px";

export class ThreadView {
  #scroller;
  #list;
  #actions;
  /** @type {Map<string, MessageView>} */
  #views = new Map();
  /** What has changed since the last frame, by its id. @type {Map<string, Message>} */
  #changed = new Map();
  #isFrameAsked = false;
  #isAtEnd = true;
  #lastTop = 0;
  #onEnd;
  #observer;
  /** Since when a frame that draws took how long at most: less often where it takes long. */
  #notBefore = 0;

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
    // The window, or the box below, has another height: the end stays in sight.
    new ResizeObserver(() => { if (this.#isAtEnd) this.#goToEnd(); }).observe(scroller);
    new ResizeObserver(() => { if (this.#isAtEnd) this.#goToEnd(); }).observe(list);
  }

  /**
   * Show these messages; those that were shown keep their elements.
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
        // The last ones are in sight at once; it must not flicker.
        if (index >= path.length - 4) view.approach();
        else this.#observer.observe(view.root);
      } else {
        view.draw(message);
      }
      if (view.root === next) next = next.nextSibling;
      else this.#list.insertBefore(view.root, next);
    }
  }

  /** All anew, in another language say. */
  clear() {
    this.show([]);
  }

  /**
   * A message has changed: it is drawn with the next frame.
   * @param {Message} message
   */
  changed(message) {
    if (!this.#views.has(message.id)) return;
    this.#changed.set(message.id, message);
    if (this.#isFrameAsked) return;
    this.#isFrameAsked = true;
    requestAnimationFrame((time) => this.#frame(time));
  }

  /** To the end, and from now on with it. */
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
    // A long table or list that is made anew takes its time; the rest of the page gets three times as much.
    const took = performance.now() - began;
    this.#notBefore = took > 4 ? time + took * 4 : 0;
  }

  #goToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#lastTop = this.#scroller.scrollTop;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    // Only the reader scrolls up; what grows moves the end away, and that is no wish.
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
