// The box for questions: grows with the text, sends, stops, and keeps drafts.

import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { readDraft, writeDraft } from "../state/preferences.js";
import { fitHeight, isSend, isTouch } from "../typing.js";
import { picturesView } from "./message/pictures-view.js";

/** @typedef {import("../types.js").Picture} Picture */

export class Composer {
  #area;
  #button;
  #of = "";
  #isRunning = false;
  /** What was sent last from here. */
  #sent = "";
  /** The images of the next questions, by conversation: drafts do not keep them. @type {Map<string, Picture[]>} */
  #pictures = new Map();
  #shownPictures = document.createElement("div");
  #callbacks;

  /**
   * @param {HTMLFormElement} form
   * @param {{ send: (text: string, pictures: Picture[]) => Promise<void>, stop: () => void, last: () => string,
   *   typed: () => void, files: (files: File[]) => void }} callbacks `last` is the last question of the shown chat;
   *   `typed` is called while a question is typed.
   */
  constructor(form, callbacks) {
    this.#callbacks = callbacks;
    this.#area = /** @type {HTMLTextAreaElement} */ (form.querySelector("textarea"));
    this.#button = /** @type {HTMLButtonElement} */ (form.querySelector("button[type=submit]"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#isRunning && this.#isEmpty) callbacks.stop();
      else void this.#send();
    });
    const chooser = /** @type {HTMLInputElement} */ (form.querySelector("input[type=file]"));
    form.querySelector("#attach")?.addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      callbacks.files([...(chooser.files ?? [])]);
      // So that the same file can be chosen again.
      chooser.value = "";
    });
    form.prepend(this.#shownPictures);
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
    this.#drawPictures();
    this.fill(readDraft(of));
  }

  /** @param {Picture[]} pictures To be sent with the text. */
  addPictures(pictures) {
    this.#setPictures([...this.#pictures.get(this.#of) ?? [], ...pictures]);
    this.focus();
  }

  /** @param {Picture[]} pictures */
  #setPictures(pictures) {
    this.#pictures.set(this.#of, pictures);
    this.#drawPictures();
    this.#drawButton();
  }

  #drawPictures() {
    const pictures = this.#pictures.get(this.#of) ?? [];
    const drawn = picturesView(pictures, (one) => {
      this.#setPictures(pictures.filter((other) => other !== one));
      this.focus();
    });
    drawn.hidden = pictures.length === 0;
    this.#shownPictures.replaceWith(drawn);
    this.#shownPictures = drawn;
  }

  get #isEmpty() { return this.#area.value.trim() === "" && !this.#pictures.get(this.#of)?.length; }

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
    if (this.#isEmpty) return;
    const text = this.#area.value;
    const pictures = this.#pictures.get(this.#of) ?? [];
    this.#sent = text;
    this.#setPictures([]);
    this.fill("");
    // A click on the button takes the focus, and on phones a focus would open the keyboard again.
    if (document.activeElement === this.#button && !isTouch()) this.focus();
    try {
      await this.#callbacks.send(text, pictures);
    } catch (error) {
      // It could not be saved: put it back.
      if (this.#area.value === "") this.fill(text);
      if (this.#isEmpty || !this.#pictures.get(this.#of)?.length) this.#setPictures(pictures);
      throw error;
    }
  }

  #drawButton() {
    const isEmpty = this.#isEmpty;
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
