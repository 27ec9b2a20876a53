// What the model thought before it answered: folded, with its time and size.

import { element } from "../../../dom.js";
import { language, t } from "../../i18n.js";
import { RichText } from "../../text/rich-text.js";

/** @typedef {import("../../types.js").Answer} Answer */

export class ThoughtsView {
  #label = element("span");
  #body = element("div");
  #rich = new RichText(this.#body);
  #text = "";
  #isComplete = false;
  #shown = "";

  constructor() {
    this.root = element("details", { class: "thoughts", ontoggle: () => this.#drawBody() },
      element("summary", {}, this.#label), this.#body);
  }

  /**
   * @param {Answer} answer With thoughts.
   * @param {boolean} isThinking Whether more of them may come.
   */
  draw(answer, isThinking) {
    this.#text = answer.thoughts?.text ?? "";
    this.#isComplete = !isThinking;
    const label = labelOf(answer, isThinking);
    if (this.#label.textContent !== label) this.#label.textContent = label;
    this.root.classList.toggle("thinking", isThinking);
    this.#drawBody();
  }

  /** Folded thoughts cost nothing. */
  #drawBody() {
    const key = `${this.#isComplete}|${this.#text.length}`;
    if (!this.root.open || key === this.#shown) return;
    this.#shown = key;
    this.#rich.show(this.#text, this.#isComplete);
  }
}

/**
 * @param {Answer} answer
 * @param {boolean} isThinking
 */
function labelOf({ thoughts, wasInterrupted }, isThinking) {
  const { text = "", began = 0, ended = 0, tokens = 0 } = thoughts ?? {};
  const seconds = (ended - began) / 1000;
  const digits = isThinking || seconds >= 10 ? 0 : 1;
  const time = seconds.toLocaleString(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
  // An interrupted answer's pause would count as thinking.
  const did = wasInterrupted ? t(isThinking ? "thinking" : "thoughts")
    : t(isThinking ? "thinkingFor" : "thoughtFor", { seconds: time });
  const size = tokens > 0 ? t("tokenCount", { count: tokens.toLocaleString(language()) })
    : t("characterCount", { count: text.length.toLocaleString(language()) });
  return `${did} · ${size}`;
}
