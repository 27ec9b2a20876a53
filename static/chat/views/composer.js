// The box for questions: grows with the text, sends, stops, and keeps drafts.

import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { readDraft, writeDraft } from "../state/preferences.js";
import { fitHeight, isSend, isTouch } from "../typing.js";

export class Composer {
  #area;
  #button;
  #of = "";
  #isRunning = false;
  /** What was sent last from here. */
  #sent = "";
  #callbacks;

  /**
   * @param {HTMLFormElement} form
   * @param {{ send: (text: string) => Promise<void>, stop: () => void, last: () => string, typed: () => void }} callbacks
   *   `last` is the last question of the shown chat; `typed` is called while a question is typed.
   */
  constructor(form, callbacks) {
    this.#callbacks = callbacks;
    this.#area = /** @type {HTMLTextAreaElement} */ (form.querySelector("textarea"));
    this.#button = /** @type {HTMLButtonElement} */ (form.querySelector("button[type=submit]"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#isRunning && this.#area.value.trim() === "") callbacks.stop();
      else void this.#send();
    });
    // The form looks like the box, so a click anywhere in it focuses the text.
    form.addEventListener("click", ({ target }) => { if (target === form) this.focus(); });
    this.#area.addEventListener("input", () => {
      fitHeight(this.#area);
      writeDraft(this.#of, this.#area.value);
      this.#drawButton();
      callbacks.typed();
    });
    this.#area.addEventListener("keydown", (event) => {
      if (this.#recall(event)) event.preventDefault();
      if (!isSend(event)) return;
      event.preventDefault();
      void this.#send();
    });
  }

  focus() { this.#area.focus({ preventScroll: true }); }

  /**
   * Put this text into the box.
   * @param {string} text
   */
  fill(text) {
    this.#area.value = text;
    writeDraft(this.#of, text);
    fitHeight(this.#area);
    this.#drawButton();
  }

  /**
   * Show the draft for this conversation.
   * @param {string} of
   */
  show(of) {
    this.#of = of;
    this.fill(readDraft(of));
  }

  /** @param {boolean} isRunning Whether an answer of this conversation is. */
  update(isRunning) {
    this.#isRunning = isRunning;
    this.#drawButton();
  }

  /**
   * Add to the end of the text.
   * @param {string} text
   */
  add(text) {
    const before = this.#area.value;
    this.fill(before.trim() === "" ? text : `${before.replace(/\n*$/, "\n\n")}${text}`);
    this.focus();
  }

  /**
   * In an empty box, Arrow Up brings the last question, and undo what was sent.
   * @param {KeyboardEvent} event
   */
  #recall(event) {
    if (this.#area.value !== "" || event.isComposing) return false;
    const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    const text = isUndo ? this.#sent : event.key === "ArrowUp" ? this.#callbacks.last() : "";
    if (text === "") return false;
    this.fill(text);
    return true;
  }

  async #send() {
    const text = this.#area.value;
    if (text.trim() === "") return;
    this.#sent = text;
    this.fill("");
    // A click on the button takes the focus, and on phones a focus would open the keyboard again.
    if (document.activeElement === this.#button && !isTouch()) this.focus();
    try {
      await this.#callbacks.send(text);
    } catch (error) {
      // It could not be saved: put it back.
      if (this.#area.value === "") this.fill(text);
      throw error;
    }
  }

  #drawButton() {
    const isEmpty = this.#area.value.trim() === "";
    const isStop = this.#isRunning && isEmpty;
    const name = isStop ? "stop" : "send";
    this.#button.disabled = isEmpty && !isStop;
    if (this.#button.dataset.is === name) return;
    this.#button.dataset.is = name;
    this.#button.replaceChildren(icon(name));
    this.#button.setAttribute("aria-label", t(name));
    this.#button.title = t(name);
  }
}
