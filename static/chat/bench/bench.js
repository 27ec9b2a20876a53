// Shows the bench at #/bench. Its code is loaded the first time.

import { byId } from "../../dom.js";
import { t } from "../i18n.js";
import { toast } from "../toast.js";

/** @typedef {import("./view.js").Context} Context */
/** @typedef {import("./view.js").BenchView} BenchView */

export class Bench {
  #context;
  /** @type {BenchView | undefined} */
  #view;
  #isLoading = false;
  isShown = false;

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
  }

  /** Be shown if the page's address says so; returns whether it is. */
  follow() {
    const wasShown = this.isShown;
    this.isShown = location.hash === "#/bench";
    for (const selector of ["#scroller", ".foot"]) {
      const part = /** @type {HTMLElement} */ (document.querySelector(selector));
      part.hidden = this.isShown;
    }
    if (this.isShown) byId("open-bench").setAttribute("aria-current", "page");
    else byId("open-bench").removeAttribute("aria-current");
    if (this.#view !== undefined) this.#view.root.hidden = !this.isShown;
    else if (this.isShown) void this.#load();
    if (this.isShown && !wasShown) this.#view?.focus();
    return this.isShown;
  }

  focus() { this.#view?.focus(); }

  /** Add to the prompt. @param {string} text */
  add(text) { this.#view?.add(text); }

  /** Stop all that runs. */
  stop() { this.#view?.stop(); }

  /** The page's language has changed. */
  speak() { void this.#view?.speak(); }

  async #load() {
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      const { openBench } = await import("./view.js");
      this.#view = await openBench(this.#context);
      this.#view.root.hidden = !this.isShown;
      document.querySelector("main")?.append(this.#view.root);
      if (this.isShown) this.#view.focus();
    } catch (error) {
      console.warn("The bench could not be loaded:", error);
      toast(byId("toasts"), t("notLoaded"));
    } finally {
      this.#isLoading = false;
    }
  }
}
