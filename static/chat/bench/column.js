// One column of the bench: its settings, the answer to them, and the figures of that answer.

import { element } from "../../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { bodyOf } from "../state/running/request.js";
import { decimal, whole } from "../views/message/answer-stats.js";
import { summary } from "../views/chips.js";
import { SamplingForm } from "../views/sampling-form.js";
import { Run } from "./run.js";
import { TokensView } from "./tokens-view.js";
import { b } from "./words.js";

/** @typedef {import("../types.js").Sampling} Sampling */
/** @typedef {import("../i18n.js").Word} Word */
/** @typedef {import("./tokens-view.js").TokenCard} TokenCard */
/** @typedef {import("../state/connection.js").Connection} Connection */

/**
 * @typedef {object} Settings
 * @property {string} name A letter.
 * @property {string} model
 * @property {Sampling} sampling
 */

/**
 * @typedef {object} Callbacks
 * @property {() => void} changed The settings.
 * @property {() => void} remove
 * @property {() => void} run
 */

/** How many candidates are asked for beside each token. */
const CANDIDATES = 5;
/** @type {[string, Word][]} */
const THINKING = [["", "thinkingDefault"], ["on", "thinkingOn"], ["off", "thinkingOff"]];

export class Column {
  root = element("article", { class: "bench-column" });
  /** @type {Run | null} */
  run = null;
  #connection;
  #changed;
  #summary = element("span", { class: "bench-summary" });
  #model = element("select", {});
  #thinking = element("select", {});
  #switch = element("label", {});
  #details = element("details", { class: "bench-settings", open: true });
  #button = element("button", { type: "button", class: "tool" });
  #remove = element("button", { type: "button", class: "tool" });
  #facts = element("dl", { class: "bench-facts" });
  #notice = element("p", { class: "notice" });
  #thoughts = element("details", { class: "bench-thoughts" });
  /** @type {SamplingForm | undefined} */
  #form;
  #text;
  #frame = 0;
  #shownState = "";

  /**
   * @param {Settings} settings
   * @param {Connection} connection
   * @param {TokenCard} card
   * @param {Callbacks} callbacks
   */
  constructor(settings, connection, card, callbacks) {
    this.settings = settings;
    this.#connection = connection;
    this.#changed = callbacks.changed;
    this.#text = new TokensView(card);
    this.#button.addEventListener("click", () => (this.isRunning ? this.stop() : callbacks.run()));
    this.#remove.addEventListener("click", () => callbacks.remove());
    this.#model.addEventListener("change", () => this.#change({ model: this.#model.value }));
    this.#thinking.addEventListener("change", () => {
      const { thinking: _, ...others } = settings.sampling;
      const { value } = this.#thinking;
      this.#change({ sampling: value === "" ? others : { ...others, thinking: value === "on" } });
    });
    this.build();
  }

  get isRunning() { return this.run !== null && !this.run.isOver; }

  /** The labels of settings that are not valid. */
  get invalid() { return this.#form?.invalid ?? []; }

  /** Draw everything in the page's language. */
  build() {
    const { name, sampling } = this.settings;
    const id = `bench-${name}`;
    const rows = element("div", { class: "rows" });
    this.#form = new SamplingForm(rows, ({ thinking: _, ...others }) => {
      const { thinking } = this.settings.sampling;
      this.#change({ sampling: thinking === undefined ? others : { ...others, thinking } });
    }, `${id}-`);
    this.#form.fill(sampling);
    this.#thinking.replaceChildren(...THINKING.map(([value, word]) => element("option", { value }, t(word))));
    this.#switch.replaceChildren(element("span", {}, t("thinkingSwitch")), this.#thinking);
    this.#remove.replaceChildren(icon("close"));
    this.#remove.setAttribute("aria-label", b("remove", { name }));
    this.#remove.title = b("remove", { name });
    this.#details.replaceChildren(element("summary", {}, element("span", {}, b("settings")), this.#summary),
      element("div", { class: "rows" },
        element("label", {}, element("span", {}, t("model")), this.#model), this.#switch, rows));
    this.#text.root.setAttribute("aria-label", b("answer", { name }));
    this.root.setAttribute("aria-labelledby", id);
    this.root.replaceChildren(
      element("header", {}, element("h3", { id }, b("column", { name })), this.#button, this.#remove),
      this.#details, this.#facts, this.#notice, this.#thoughts, this.#text.root);
    this.showModels();
    this.#draw();
  }

  /** The list of models may have changed. */
  showModels() {
    const { models, thinkers } = this.#connection;
    const { model, sampling } = this.settings;
    const names = models.includes(model) ? models : [model, ...models].filter(Boolean);
    // An open list would be closed.
    if ([...this.#model.options].map(({ value }) => value).join("\n") !== names.join("\n")) {
      this.#model.replaceChildren(...names.map((id) => element("option", { value: id }, id)));
    }
    this.#model.value = model;
    this.#button.disabled = !this.isRunning && models.length === 0;
    this.#switch.hidden = !thinkers.has(model);
    this.#thinking.value = sampling.thinking === undefined ? "" : sampling.thinking ? "on" : "off";
    this.#summary.textContent = [models.length > 1 ? model : "", summary(sampling)].filter(Boolean).join(" · ");
  }

  /** @param {boolean} canBeRemoved */
  allowRemoval(canBeRemoved) { this.#remove.hidden = !canBeRemoved; }

  stop() { this.run?.stop(); }

  /** @param {Partial<Settings>} changes */
  #change(changes) {
    Object.assign(this.settings, changes);
    this.showModels();
    this.#changed();
  }

  /**
   * Ask for an answer, in place of the last one.
   * @param {string} prompt
   * @param {boolean} withProbabilities
   */
  async start(prompt, withProbabilities) {
    const { name, model, sampling } = this.settings;
    const body = bodyOf(model, sampling, [{ role: "user", content: prompt }]);
    if (withProbabilities) Object.assign(body, { logprobs: true, top_logprobs: CANDIDATES });
    const run = new Run(name, body);
    this.run = run;
    this.#details.open = false;
    this.#draw();
    await run.go(this.#connection, () => this.#later());
    // At once, for whoever waits for its end, and even while the page is hidden.
    this.#draw();
    return run;
  }

  /** Draw before the next frame. */
  #later() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { run } = this;
    this.#drawButton();
    this.root.dataset.state = run?.state ?? "none";
    this.root.ariaBusy = String(this.isRunning);
    for (const part of [this.#facts, this.#text.root]) part.hidden = run === null;
    this.#thoughts.hidden = !run?.reasoning;
    if (run === null) return;
    this.#facts.replaceChildren(...facts(run).map(([word, value]) => element("div", {},
      element("dt", {}, b(word)), element("dd", {}, value))));
    const said = notice(run);
    this.#notice.classList.toggle("bad", run.error !== null);
    if (this.#notice.textContent !== said) this.#notice.textContent = said;
    if (run.reasoning) this.#drawThoughts(run.reasoning);
    this.#text.draw(run);
  }

  /** @param {string} text */
  #drawThoughts(text) {
    const { name } = this.settings;
    this.#thoughts.replaceChildren(element("summary", {}, t("thoughts")),
      element("div", { class: "bench-text", tabindex: "0", role: "group", dir: "auto",
        "aria-label": b("thoughts", { name }) }, text));
  }

  #drawButton() {
    const { name } = this.settings;
    const label = b(this.isRunning ? "stop" : "run", { name });
    if (label === this.#shownState) return;
    this.#shownState = label;
    this.#button.replaceChildren(icon(this.isRunning ? "stop" : "run"));
    this.#button.setAttribute("aria-label", label);
    this.#button.title = label;
  }
}

/**
 * @param {Run} run
 * @returns {[import("./words.js").BenchWord, string][]}
 */
function facts(run) {
  const { state, finish, first, sent, pace, usage, chunks } = run;
  const isDone = state === "done";
  const about = usage === null ? "≈ " : "";
  const tokens = usage?.completion_tokens ?? chunks;
  const inPrompt = usage === null ? "" : ` · ${b("inPrompt", { count: whole(usage.prompt_tokens) })}`;
  return [
    ["firstToken", first > 0 ? b("seconds", { value: decimal((first - sent) / 1000) }) : "–"],
    ["pace", pace === null ? "–" : about + b("perSecond", { value: decimal(pace) })],
    ["tokens", tokens === 0 && usage === null ? "–" : about + whole(tokens) + inPrompt],
    ["finish", isDone ? finish ?? "–" : b(/** @type {"waiting" | "running" | "stopped" | "failed"} */ (state))],
  ];
}

/** What is to be said of its end. @param {Run} run */
function notice({ state, error, sent, ended, stopAsked, usage, calls }) {
  if (error !== null) return error.message;
  if (state === "stopped" && sent === 0) return b("stoppedEarly");
  if (state === "stopped") {
    return b("receipt", { tokens: whole(usage?.completion_tokens ?? 0), ms: decimal(ended - stopAsked) });
  }
  return calls.map(({ function: called }) => `${called?.name}(${called?.arguments})`).join("\n");
}
