// Tells a screen reader what is written while it is written: whole sentences, and not too often. Does not know how it
// looks.

import { t } from "../i18n.js";

/** @typedef {import("../types.js").Message} Message */

const EVERY_MS = 4000;
const SENTENCE = /[.!?。…][)"'”’\]]*\s|\n/g;

export class Announcer {
  #region;
  #id = "";
  #said = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {Message | null} */
  #message = null;

  /** @param {HTMLElement} region A polite live region. */
  constructor(region) {
    this.#region = region;
  }

  /** @param {string} text */
  say(text) {
    // Added, not replaced: what is still being read is not cut off.
    const line = document.createElement("p");
    line.textContent = text;
    this.#region.append(line);
    while (this.#region.childElementCount > 3) this.#region.firstElementChild?.remove();
  }

  /**
   * The answer that is shown has changed.
   * @param {Message} message
   * @param {boolean} isRunning
   */
  follow(message, isRunning) {
    if (message.id !== this.#id) {
      if (!isRunning) return;
      this.#id = message.id;
      // What was there before the page was left has been heard.
      this.#said = message.answer?.wasInterrupted ? message.text.length : 0;
      this.say(t("answering"));
    }
    this.#message = message;
    if (isRunning) {
      this.#timer ??= setTimeout(() => this.#sentences(), EVERY_MS);
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const rest = plain(message.text.slice(this.#said));
    this.#id = "";
    this.say(`${rest} ${t(message.answer?.state === "failed" ? "answerFailed" : "answerComplete")}`.trim());
  }

  #sentences() {
    this.#timer = undefined;
    if (this.#message === null) return;
    const text = this.#message.text.slice(this.#said);
    let end = 0;
    for (const { 0: mark, index } of text.matchAll(SENTENCE)) end = index + mark.length;
    if (end === 0) return;
    this.#said += end;
    this.say(plain(text.slice(0, end)));
  }
}

/**
 * Without the signs that Markdown is made of.
 * @param {string} text
 */
function plain(text) {
  return text.replace(/```\w*|[*_`#>|]+/g, " ").replace(/\s+/g, " ").trim();
}
