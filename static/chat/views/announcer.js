// Reads an answer to screen readers while it is generated: in whole sentences, and not too often.

import { t } from "../i18n.js";
import { nameOf } from "./message/calls-view.js";

/** @typedef {import("../types.js").Message} Message */

const EVERY_MS = 4000;
const SENTENCE = /[.!?。…][)"'”’\]]*\s|\n/g;

export class Announcer {
  #region;
  #id = "";
  #announced = 0;
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
    // Appended, so that speech in progress is not cut off.
    const line = document.createElement("p");
    line.textContent = text;
    this.#region.append(line);
    while (this.#region.childElementCount > 3) this.#region.firstElementChild?.remove();
  }

  /**
   * The shown answer has changed.
   * @param {Message} message
   * @param {boolean} isRunning
   */
  follow(message, isRunning) {
    if (message.id !== this.#id) {
      if (!isRunning) return;
      this.#id = message.id;
      // The text from before a reload has already been read out.
      this.#announced = message.answer?.wasInterrupted ? message.text.length : 0;
      this.say(t("answering"));
    }
    this.#message = message;
    if (isRunning) {
      this.#timer ??= setTimeout(() => this.#sentences(), EVERY_MS);
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const calls = (message.answer?.calls ?? []).map((call) => t("callOf", { name: nameOf(call) }));
    const rest = [plain(message.text.slice(this.#announced)), ...calls].join(" ");
    this.#id = "";
    this.say(`${rest} ${t(message.answer?.state === "failed" ? "answerFailed" : "answerComplete")}`.trim());
  }

  #sentences() {
    this.#timer = undefined;
    if (this.#message === null) return;
    const text = this.#message.text.slice(this.#announced);
    let end = 0;
    for (const { 0: mark, index } of text.matchAll(SENTENCE)) end = index + mark.length;
    if (end === 0) return;
    this.#announced += end;
    this.say(plain(text.slice(0, end)));
  }
}

/**
 * Without Markdown's punctuation.
 * @param {string} text
 */
function plain(text) {
  return text.replace(/```\w*|[*_`#>|]+/g, " ").replace(/\s+/g, " ").trim();
}
