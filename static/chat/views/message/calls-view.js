// The tools that an answer calls, with their arguments as they come, and a form to answer them by hand.

import { element } from "../../../dom.js";
import { t } from "../../i18n.js";
import { readDraft, writeDraft } from "../../state/preferences.js";
import { codeFigure, colour } from "../../text/code.js";
import { fitHeight } from "../../typing.js";

/** @typedef {import("../../types.js").ToolCall} ToolCall */

export class CallsView {
  root = element("div", { class: "calls" });
  /** The text of each call's arguments. @type {Text[]} */
  #arguments = [];
  #isComplete = false;
  /** @type {HTMLFormElement | null} */
  #form = null;
  #answer;

  /** @param {(results: string[]) => void} answer Called with what the reader answers, a text for each call. */
  constructor(answer) {
    this.#answer = answer;
  }

  /**
   * @param {ToolCall[]} calls
   * @param {{ isComplete: boolean, wantsResults: boolean }} state
   */
  draw(calls, { isComplete, wantsResults }) {
    for (const [index, call] of calls.entries()) {
      if (index >= this.#arguments.length) this.#add(call);
      const text = textOf(call);
      const wanted = isComplete ? pretty(text) : text;
      const node = this.#arguments[index];
      if (wanted.startsWith(node.data)) node.appendData(wanted.slice(node.data.length));
      else node.data = wanted;
    }
    if (isComplete && !this.#isComplete) void colour(this.root);
    this.#isComplete = isComplete;
    if (wantsResults === (this.#form !== null)) return;
    this.#form?.remove();
    this.#form = wantsResults ? this.#makeForm(calls) : null;
    if (this.#form !== null) this.root.append(this.#form);
  }

  /** @param {ToolCall} call */
  #add(call) {
    const figure = codeFigure(call.function ? "json" : "", "", t("callOf", { name: nameOf(call) }));
    const node = document.createTextNode("");
    figure.querySelector("code")?.append(node);
    this.#arguments.push(node);
    this.root.append(figure);
  }

  /** @param {ToolCall[]} calls */
  #makeForm(calls) {
    const areas = calls.map((call) => {
      const area = element("textarea", { dir: "auto", rows: "2" });
      area.value = readDraft(call.id);
      area.addEventListener("input", () => {
        fitHeight(area);
        writeDraft(call.id, area.value);
      });
      return area;
    });
    return element("form", { class: "results", onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      for (const { id } of calls) writeDraft(id, "");
      this.#answer(areas.map(({ value }) => value));
    } },
    calls.map((call, index) => element("label", {}, t("resultOf", { name: nameOf(call) }), areas[index])),
    element("div", { class: "buttons" }, element("button", { type: "submit", class: "main-button" },
      t(calls.length > 1 ? "sendResults" : "sendResult"))));
  }
}

/** @param {ToolCall} call */
export function nameOf(call) {
  return (call.function ?? call.custom)?.name ?? "";
}

/** @param {ToolCall} call */
function textOf(call) {
  return call.function?.arguments ?? call.custom?.input ?? "";
}

/**
 * JSON with line breaks; other text as it is.
 * @param {string} text
 */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
