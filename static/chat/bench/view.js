// The bench: one prompt, several settings, and their answers side by side on the page's one connection.

import { byId, element } from "../../dom.js";
import { toast } from "../toast.js";
import { fitHeight, isTouch } from "../typing.js";
import { download } from "../views/files.js";
import { Column } from "./column.js";
import { CompareView } from "./compare.js";
import { TokenCard } from "./tokens-view.js";
import { b, loadWords } from "./words.js";

/** @typedef {import("./column.js").Settings} Settings */
/** @typedef {import("../types.js").Sampling} Sampling */
/** @typedef {{ prompt: string, withProbabilities: boolean, columns: Settings[] }} Kept */

/**
 * @typedef {object} Context
 * @property {import("../state/connection.js").Connection} connection
 * @property {() => string} model The page's.
 * @property {() => Sampling} sampling That of new chats.
 */

const NAMES = [..."ABCDEFGH"];
const FEWEST = 2;
const KEPT = "twowire-bench";
/** So many runs are kept in memory for the file. */
const MAX_RUNS = 200;

/**
 * Load what the bench needs, and make it.
 * @param {Context} context
 */
export async function openBench(context) {
  await Promise.all([loadWords(), loadStyle()]);
  return new BenchView(context);
}

export class BenchView {
  root = element("section", { id: "bench", "aria-labelledby": "bench-title" });
  #context;
  /** @type {Column[]} */
  #columns = [];
  /** One line each. @type {string[]} */
  #records = [];
  #card = new TokenCard();
  #prompt = element("textarea", { id: "bench-prompt", rows: "2", dir: "auto", "aria-describedby": "bench-hint" });
  #probabilities = element("input", { type: "checkbox" });
  #start = element("button", { type: "submit", class: "main-button" });
  #add = element("button", { type: "button", class: "plain-button", onclick: () => this.#addColumn() });
  #compareButton = element("button", { type: "button", class: "plain-button", "aria-expanded": "false" });
  #save = element("button", { type: "button", class: "plain-button", onclick: () => this.#saveRuns() });
  #status = element("p", { class: "quiet", role: "status" });
  #list = element("div", { class: "bench-columns", role: "group" });
  #compare = new CompareView(() => this.#columns);
  #form;

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
    const kept = read();
    this.#prompt.value = kept?.prompt ?? "";
    this.#probabilities.checked = kept?.withProbabilities ?? false;
    this.#form = element("form", { class: "bench-form", onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.#isRunning) this.stop();
      else this.#run(this.#columns);
    } });
    this.#prompt.addEventListener("input", () => this.#promptChanged());
    this.#probabilities.addEventListener("change", () => this.#write());
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
      event.preventDefault();
      if (!this.#isRunning) this.#form.requestSubmit();
    });
    this.#compareButton.addEventListener("click", () => {
      this.#compareButton.setAttribute("aria-expanded", String(this.#compare.toggle()));
    });
    const model = context.model();
    const base = context.sampling();
    const first = [{ name: "A", model, sampling: { ...base, temperature: 0 } },
      { name: "B", model, sampling: { ...base, temperature: 1 } }];
    for (const settings of kept?.columns ?? first) this.#columns.push(this.#column(settings));
    context.connection.addEventListener("change", () => {
      const { models } = context.connection;
      for (const column of this.#columns) {
        // The one that was kept may be another server's. Before the list is there, nobody knows.
        if (models.length > 0 && !models.includes(column.settings.model)) column.settings.model = context.model();
        column.showModels();
      }
      this.#drawState();
    });
    // The text of an answer scrolls, and so does all of the bench.
    this.root.addEventListener("scroll", () => this.#card.follow(), true);
    this.#build();
  }

  focus() {
    fitHeight(this.#prompt);
    if (!isTouch()) this.#prompt.focus();
  }

  /** Stop all that runs. */
  stop() { for (const column of this.#columns) column.stop(); }

  /** Add to the prompt. @param {string} text */
  add(text) {
    const before = this.#prompt.value;
    this.#prompt.value = before.trim() === "" ? text : `${before.replace(/\n*$/, "\n\n")}${text}`;
    this.#promptChanged();
    this.#prompt.focus();
  }

  /** The page's language has changed. */
  async speak() {
    await loadWords();
    for (const column of this.#columns) column.build();
    this.#compare.build();
    this.#build();
  }

  get #isRunning() { return this.#columns.some(({ isRunning }) => isRunning); }

  #build() {
    this.#add.textContent = b("addColumn");
    this.#compareButton.textContent = b("compare");
    this.#save.title = b("saveHint", { limit: MAX_RUNS });
    this.#list.setAttribute("aria-label", b("columns"));
    this.#form.replaceChildren(
      element("label", { class: "bench-prompt" }, element("span", {}, b("prompt")), this.#prompt),
      element("p", { id: "bench-hint", class: "quiet" }, b("promptHint")),
      element("div", { class: "bench-bar" }, this.#start, this.#add, this.#compareButton, this.#save,
        element("label", { class: "bench-check", title: b("tokenHint") }, this.#probabilities,
          element("span", {}, b("probabilities"))),
        this.#status));
    this.root.replaceChildren(element("h2", { id: "bench-title" }, b("title")),
      element("p", { class: "quiet" }, b("intro")),
      this.#form, this.#list, this.#compare.root, this.#card.root);
    this.#draw();
  }

  #draw() {
    this.#list.replaceChildren(...this.#columns.map(({ root }) => root));
    for (const column of this.#columns) column.allowRemoval(this.#columns.length > FEWEST);
    this.#add.disabled = this.#columns.length === NAMES.length;
    this.#drawState();
  }

  #drawState() {
    const running = this.#columns.filter(({ isRunning }) => isRunning).length;
    const finished = this.#columns.filter(({ run }) => run?.isOver).length;
    this.#start.textContent = b(running > 0 ? "stopAll" : "runAll");
    this.#start.disabled = running === 0 && this.#context.connection.models.length === 0;
    this.#save.textContent = b("save", { count: this.#records.length });
    this.#save.disabled = this.#records.length === 0;
    const said = running > 0 ? b("runningCount", { count: running }) : finished > 0 ? b("finishedCount", { count: finished }) : "";
    if (this.#status.textContent !== said) this.#status.textContent = said;
  }

  // -- columns -------------------------------------------------------------------------------------------------------

  /** @param {Settings} settings */
  #column(settings) {
    /** @type {Column} */
    const column = new Column(settings, this.#context.connection, this.#card, {
      changed: () => this.#write(),
      remove: () => this.#removeColumn(column),
      run: () => this.#run([column]),
    });
    return column;
  }

  #addColumn() {
    const name = NAMES.find((one) => this.#columns.every(({ settings }) => settings.name !== one));
    const last = this.#columns.at(-1);
    if (name === undefined || last === undefined) return;
    const { model, sampling } = last.settings;
    const column = this.#column({ name, model, sampling: structuredClone(sampling) });
    this.#columns.push(column);
    this.#columns.sort((one, other) => one.settings.name.localeCompare(other.settings.name));
    this.#changedColumns();
    column.root.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** @param {Column} column */
  #removeColumn(column) {
    column.stop();
    this.#columns = this.#columns.filter((one) => one !== column);
    this.#changedColumns();
    // The button that had the focus is gone.
    this.#add.focus();
  }

  #changedColumns() {
    this.#draw();
    this.#compare.update();
    this.#write();
  }

  // -- runs ----------------------------------------------------------------------------------------------------------

  /** @param {Column[]} columns */
  #run(columns) {
    if (this.#context.connection.models.length === 0) return;
    const problem = this.#problem(columns);
    if (problem !== "") return toast(byId("toasts"), problem);
    for (const column of columns) {
      void column.start(this.#prompt.value, this.#probabilities.checked).then((run) => {
        this.#records.push(JSON.stringify(run.record()));
        this.#records.splice(0, this.#records.length - MAX_RUNS);
        this.#drawState();
        this.#compare.update();
      });
    }
    this.#compare.update();
    this.#drawState();
  }

  /** What keeps them from running, in words. @param {Column[]} columns */
  #problem(columns) {
    if (this.#prompt.value.trim() === "") {
      this.#prompt.focus();
      return b("emptyPrompt");
    }
    const wrong = columns.find(({ invalid }) => invalid.length > 0);
    if (wrong === undefined) return "";
    wrong.root.scrollIntoView({ block: "nearest", inline: "nearest" });
    return b("invalid", { name: wrong.settings.name, fields: wrong.invalid.join(", ") });
  }

  #saveRuns() {
    const name = `twowire-bench-${new Date().toISOString().slice(0, 10)}.jsonl`;
    download(name, "application/jsonl", this.#records.map((line) => `${line}\n`).join(""));
  }

  // -- what the browser keeps ----------------------------------------------------------------------------------------

  #promptChanged() {
    fitHeight(this.#prompt);
    this.#write();
  }

  #write() {
    /** @type {Kept} */
    const kept = { prompt: this.#prompt.value, withProbabilities: this.#probabilities.checked,
      columns: this.#columns.map(({ settings }) => settings) };
    try {
      localStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      // Full or forbidden: it lasts as long as the page.
    }
  }
}

/** @returns {Kept | null} */
function read() {
  try {
    /** @type {Kept} */
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "null");
    const names = kept.columns.map(({ name }) => name);
    const isSound = names.length >= FEWEST && names.every((name) => NAMES.includes(name))
      && new Set(names).size === names.length && kept.columns.every(({ sampling }) => typeof sampling === "object");
    return isSound ? kept : null;
  } catch {
    return null;
  }
}

/** @returns {Promise<void>} */
function loadStyle() {
  return new Promise((resolve, reject) => {
    const link = element("link", { rel: "stylesheet", href: new URL("bench.css", import.meta.url).href });
    link.addEventListener("load", () => resolve());
    link.addEventListener("error", () => {
      link.remove();
      reject(new Error("bench.css could not be loaded"));
    });
    document.head.append(link);
  });
}
