// The line above the question box: whether the model is to think, and which settings differ from the model's own.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";

/** @typedef {import("../types.js").Sampling} Sampling */
/** @typedef {import("../i18n.js").Word} Word */

/** The names of what may be set. @type {[keyof Sampling, Word][]} */
const NAMES = [
  ["temperature", "temperature"], ["top_p", "topP"], ["max_completion_tokens", "maxTokens"], ["seed", "seed"],
  ["top_k", "topK"], ["min_p", "minP"], ["presence_penalty", "presencePenalty"],
  ["frequency_penalty", "frequencyPenalty"], ["repetition_penalty", "repetitionPenalty"], ["min_tokens", "minTokens"],
  ["thinking_token_budget", "thinkingBudget"], ["reasoning_effort", "reasoningEffort"],
];
/** @type {[string, Word][]} */
const THINKING = [["", "thinkingDefault"], ["on", "thinkingOn"], ["off", "thinkingOff"]];

export class Chips {
  #root = byId("chips");
  #callbacks;
  #shown = "";

  /** @param {{ settings: () => void, think: (thinking: boolean | undefined) => void }} callbacks */
  constructor(callbacks) {
    this.#callbacks = callbacks;
  }

  /**
   * @param {Sampling} sampling Of the shown chat.
   * @param {boolean} canThink Whether the model can be asked to think.
   */
  show(sampling, canThink) {
    const active = summary(sampling);
    const key = JSON.stringify([active, sampling.thinking ?? null, sampling.system ?? "", canThink, t("settings")]);
    if (key === this.#shown) return;
    this.#shown = key;
    const hasFocus = this.#root.contains(document.activeElement);
    this.#root.replaceChildren();
    this.#root.hidden = !canThink && active === "";
    if (canThink) this.#root.append(this.#thinking(sampling.thinking));
    if (active !== "") {
      this.#root.append(element("button", { type: "button", class: "chip", title: sampling.system,
        "aria-label": t("activeSettings", { settings: active }), onclick: this.#callbacks.settings }, active));
    }
    if (hasFocus) this.#root.querySelector("select")?.focus();
  }

  /** @param {boolean | undefined} current */
  #thinking(current) {
    const select = element("select", { class: "chip", "aria-label": t("thinkingSwitch") },
      THINKING.map(([value, word]) => element("option", { value }, t(word))));
    select.value = current === undefined ? "" : current ? "on" : "off";
    select.addEventListener("change", () => {
      this.#callbacks.think(select.value === "" ? undefined : select.value === "on");
    });
    return select;
  }
}

/**
 * What is set, in words.
 * @param {Sampling} sampling
 */
export function summary({ system, stop, tools, response_format: format, bad_words: badWords, logit_bias: bias, ...numbers }) {
  return [
    system ? t("system") : "",
    ...NAMES.map(([name, word]) => (numbers[/** @type {keyof typeof numbers} */ (name)] === undefined ? ""
      : `${t(word)} ${numbers[/** @type {keyof typeof numbers} */ (name)]}`)),
    stop?.length ? t("stopStrings") : "",
    badWords?.length ? t("badWords") : "",
    bias ? t("logitBias") : "",
    numbers.ignore_eos ? t("ignoreEos") : "",
    numbers.stop_token_ids?.length ? t("stopTokens") : "",
    numbers.allowed_token_ids?.length ? t("allowedTokens") : "",
    numbers.skip_special_tokens === false ? t("specialTokens") : "",
    numbers.parallel_tool_calls === false ? t("oneCall") : "",
    format ? t("jsonSchema") : "",
    tools?.length ? t("toolCount", { count: tools.length }) : "",
  ].filter(Boolean).join(" · ");
}
