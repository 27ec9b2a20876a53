// The form for how answers are generated: the system prompt, the sampling, the tools.

import { element } from "../../dom.js";
import { t } from "../i18n.js";
import { biasFrom, choiceFrom, choiceText, formatFrom, formatText, idsFrom } from "../state/exchange/json-fields.js";
import { toolsFrom } from "../state/tools.js";

/** @typedef {import("../types.js").Sampling} Sampling */
/** @typedef {import("../i18n.js").Word} Word */

/**
 * @typedef {object} NumberField
 * @property {keyof Sampling} name As in the API.
 * @property {Word} word
 * @property {number} min
 * @property {number} max
 * @property {boolean} [isWhole]
 * @property {boolean} [isRare] Shown on request.
 * @property {Word} [empty] The placeholder.
 */

const MAX_INT32 = 2 ** 31 - 1;
const MAX_STOPS = 16;
const MAX_BAD_WORDS = 128;

/** @type {NumberField[]} */
const NUMBERS = [
  { name: "temperature", word: "temperature", min: 0, max: 2 },
  { name: "top_p", word: "topP", min: 0, max: 1 },
  { name: "max_completion_tokens", word: "maxTokens", min: 1, max: MAX_INT32, isWhole: true },
  { name: "seed", word: "seed", min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER, isWhole: true, empty: "random" },
  { name: "top_k", word: "topK", min: -1, max: MAX_INT32, isWhole: true, isRare: true },
  { name: "min_p", word: "minP", min: 0, max: 1, isRare: true },
  { name: "presence_penalty", word: "presencePenalty", min: -2, max: 2, isRare: true },
  { name: "frequency_penalty", word: "frequencyPenalty", min: -2, max: 2, isRare: true },
  { name: "repetition_penalty", word: "repetitionPenalty", min: 0.01, max: 10, isRare: true },
  { name: "min_tokens", word: "minTokens", min: 0, max: MAX_INT32, isWhole: true, isRare: true },
  { name: "thinking_token_budget", word: "thinkingBudget", min: -1, max: MAX_INT32, isWhole: true, isRare: true },
];

/** Fields with few values, as in the API; a text where it has none of its own. @type {[keyof Sampling, Word, [string, Word?][]][]} */
const CHOICES = [
  ["reasoning_effort", "reasoningEffort", [["none"], ["minimal"], ["low"], ["medium"], ["high"], ["xhigh"], ["max"]]],
  ["ignore_eos", "ignoreEos", [["true", "ignoreEosOn"]]],
  ["skip_special_tokens", "specialTokens", [["false", "specialTokensShown"]]],
  ["parallel_tool_calls", "parallelCalls", [["false", "oneCall"]]],
];

/** Lists of token ids. @type {[keyof Sampling, Word, number][]} */
const ID_LISTS = [["stop_token_ids", "stopTokens", 128], ["allowed_token_ids", "allowedTokens", 4096]];

/**
 * @typedef {object} Field
 * @property {keyof Sampling} name
 * @property {Word} word
 * @property {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} input
 * @property {HTMLElement} problem Says what is wrong.
 * @property {(text: string) => any} read Its value; throws an error that says what is wrong.
 * @property {(value: any) => string} write
 */

export class SamplingForm {
  #root;
  #changed;
  #prefix;
  /** @type {Sampling} */
  #sampling = {};
  /** @type {Field[]} */
  #fields = [];

  /**
   * @param {HTMLElement} root
   * @param {(sampling: Sampling) => void} changed
   * @param {string} [prefix] Of ids, where there are several forms.
   */
  constructor(root, changed, prefix = "") {
    this.#root = root;
    this.#prefix = prefix;
    this.#changed = changed;
    root.addEventListener("input", ({ target }) => {
      const field = this.#fields.find(({ input }) => input === target);
      if (field !== undefined) this.#read(field);
    });
  }

  /** The labels of the fields whose text is not valid, and not in use. */
  get invalid() { return this.#fields.filter(({ problem }) => problem.textContent !== "").map(({ word }) => t(word)); }

  /** @param {Sampling} sampling */
  fill(sampling) {
    this.#sampling = { ...sampling };
    this.#draw();
    for (const { name, input, write } of this.#fields) {
      const value = sampling[name];
      input.value = value === undefined ? "" : write(value);
    }
  }

  /** @param {Field} field */
  #read({ name, input, problem, read }) {
    let said = "";
    try {
      // The browser hides text that is no number.
      if (input.validity.badInput) throw new Error(t("mustBeNumber"));
      if (input.value.trim() === "") delete this.#sampling[name];
      else this.#sampling[name] = read(input.value);
      this.#changed({ ...this.#sampling });
    } catch (error) {
      said = error instanceof Error ? error.message : String(error);
    }
    problem.textContent = said;
    input.setAttribute("aria-invalid", String(said !== ""));
  }

  #draw() {
    this.#fields = [];
    const numbers = NUMBERS.map((field) => ({ ...field, node: this.#number(field) }));
    /** @param {boolean} isRare */
    const pair = (isRare) => element("div", { class: "pair" },
      numbers.filter((field) => (field.isRare ?? false) === isRare).map(({ node }) => node));
    const json = { rows: "5", class: "json", spellcheck: "false" };
    const rows = [
      this.#area("system", "system", { rows: "3", dir: "auto", placeholder: t("systemPlaceholder") },
        (text) => text, (value) => value),
      pair(false),
      this.#area("stop", "stopStrings", { rows: "2", dir: "auto" },
        (text) => readLines(text, MAX_STOPS, "tooManyStops"), writeLines, t("stopHint", { count: MAX_STOPS })),
    ];
    const more = [
      pair(true),
      this.#area("response_format", "jsonSchema", json, formatFrom, formatText, t("jsonSchemaHint")),
      this.#area("tools", "tools", json, toolsFrom, indented, t("toolsHint")),
      this.#field({ name: "tool_choice", word: "toolChoice", read: choiceFrom, write: choiceText,
        input: element("input", { type: "text", name: "tool_choice", spellcheck: "false", placeholder: "auto" }) },
      t("toolChoiceHint")),
      this.#area("bad_words", "badWords", { rows: "2", dir: "auto" },
        (text) => readLines(text, MAX_BAD_WORDS, "tooManyBadWords"), writeLines, t("badWordsHint", { count: MAX_BAD_WORDS })),
      this.#area("logit_bias", "logitBias", { ...json, rows: "2", placeholder: '{"50256": -100}' }, biasFrom, JSON.stringify,
        t("logitBiasHint")),
      ...ID_LISTS.map(([name, word, count]) => this.#field({ name, word, read: (text) => idsFrom(text, count), write: (ids) => ids.join(", "),
        input: element("input", { type: "text", name, inputmode: "numeric", spellcheck: "false" }) }, t("tokenIdsHint", { count }))),
      element("div", { class: "pair" }, CHOICES.map(([name, word, values]) => this.#field({ name, word, write: String,
        read: (text) => (/^(?:true|false)$/.test(text) ? text === "true" : text),
        input: element("select", { name }, element("option", { value: "" }, t("serverDefault")),
          values.map(([value, told]) => element("option", { value }, told === undefined ? value : t(told)))) }))),
    ];
    const isOpen = this.#root.querySelector("details")?.open ?? false;
    this.#root.replaceChildren(...rows, element("details", { class: "more", open: isOpen },
      element("summary", {}, t("moreSettings")), element("div", { class: "rows" }, more)));
  }

  /** @param {NumberField} field */
  #number({ name, word, min, max, isWhole, empty }) {
    const input = element("input", { type: "number", name, min, max, step: isWhole ? "1" : "any",
      inputmode: isWhole ? "numeric" : "decimal", placeholder: t(empty ?? "serverDefault") });
    return this.#field({ name, word, input, write: String, read: (text) => {
      const value = Number(text);
      if (isWhole && !Number.isInteger(value)) throw new Error(t("mustBeWhole"));
      if (value < min || value > max) throw new Error(max >= MAX_INT32 ? t("mustBeAtLeast", { min }) : t("mustBeBetween", { min, max }));
      return value;
    } });
  }

  /**
   * @param {keyof Sampling} name
   * @param {Word} word
   * @param {Record<string, string>} attributes
   * @param {(text: string) => any} read
   * @param {(value: any) => string} write
   * @param {string} [hint]
   */
  #area(name, word, attributes, read, write, hint) {
    return this.#field({ name, word, read, write, input: element("textarea", { name, ...attributes }) }, hint);
  }

  /**
   * @param {Omit<Field, "problem">} field
   * @param {string} [hint]
   */
  #field(field, hint) {
    const { name, word, input } = field;
    const [problemId, hintId] = [`${this.#prefix}problem-${name}`, `${this.#prefix}hint-${name}`];
    const problem = element("small", { class: "bad", id: problemId, role: "alert" });
    input.setAttribute("aria-describedby", hint ? `${problemId} ${hintId}` : problemId);
    this.#fields.push({ ...field, problem });
    // The API's name is for those who know it, and not part of the label.
    return element("div", { class: "field" },
      element("label", {}, element("span", {}, t(word)), " ", element("code", { "aria-hidden": "true" }, name), input),
      problem, hint ? element("small", { id: hintId }, hint) : null);
  }
}

/**
 * @param {string} text
 * @param {number} max
 * @param {Word} tooMany
 */
function readLines(text, max, tooMany) {
  const lines = text.split("\n").filter(Boolean).map(unescaped);
  if (lines.length > max) throw new Error(t(tooMany, { count: max }));
  return lines;
}

/** @param {string[]} lines */
function writeLines(lines) {
  return lines.map((text) => JSON.stringify(text).slice(1, -1)).join("\n");
}

/** @param {unknown} value */
function indented(value) {
  return JSON.stringify(value, null, 2);
}

/**
 * Replace JSON escapes such as `\n`; a line with invalid ones stays as it is.
 * @param {string} line
 * @returns {string}
 */
function unescaped(line) {
  try {
    return JSON.parse(`"${line.replace(/(?<!\\)"/g, '\\"')}"`);
  } catch {
    return line;
  }
}
