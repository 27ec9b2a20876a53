// The comparison of two answers of the bench.

import { element } from "../../dom.js";
import { compare } from "./diff.js";
import { percent } from "./tokens-view.js";
import { b } from "./words.js";

/** @typedef {import("./column.js").Column} Column */

export class CompareView {
  #columns;
  #first = element("select", {});
  #second = element("select", {});
  #result = element("p", { role: "status" });
  #text = element("div", { class: "bench-text", tabindex: "0", role: "group", dir: "auto" });

  /** @param {() => Column[]} columns */
  constructor(columns) {
    this.#columns = columns;
    this.root = element("section", { class: "bench-compare", "aria-labelledby": "bench-compare-title", hidden: true });
    for (const select of [this.#first, this.#second]) select.addEventListener("change", () => this.update());
    this.build();
  }

  /** Draw everything in the page's language. */
  build() {
    this.#first.setAttribute("aria-label", b("compareFirst"));
    this.#second.setAttribute("aria-label", b("compareSecond"));
    this.#text.setAttribute("aria-label", b("compare"));
    this.root.replaceChildren(
      element("div", { class: "bench-bar" }, element("h3", { id: "bench-compare-title" }, b("compare")),
        this.#first, this.#second),
      this.#result, this.#text);
    this.update();
  }

  toggle() {
    this.root.hidden = !this.root.hidden;
    this.update();
    if (!this.root.hidden) this.root.scrollIntoView({ block: "nearest" });
    return !this.root.hidden;
  }

  /** The columns or their answers may have changed. */
  update() {
    if (this.root.hidden) return;
    const columns = this.#columns();
    choose(this.#first, columns, 0);
    choose(this.#second, columns, 1);
    const [first, second] = [this.#first, this.#second].map(({ value }) =>
      columns.find(({ settings }) => settings.name === value)?.run);
    this.#text.hidden = !first?.isOver || !second?.isOver;
    if (!first?.isOver || !second?.isOver) {
      this.#result.textContent = b("nothingToCompare");
      return;
    }
    const { parts, sameShare, isCoarse } = compare(first.text, second.text);
    const isSame = parts.every((part) => part.in === "same");
    this.#result.replaceChildren(isSame ? b("same") : b("sameShare", { percent: percent(sameShare) }), " ",
      isSame ? "" : element("del", {}, b("onlyFirst", { name: first.column })), " ",
      isSame ? "" : element("ins", {}, b("onlySecond", { name: second.column })),
      isCoarse ? ` ${b("tooLong")}` : "");
    this.#text.replaceChildren(...parts.map((part) => {
      if (part.in === "same") return document.createTextNode(part.text);
      return element(part.in === "first" ? "del" : "ins", {}, part.text);
    }));
  }
}

/**
 * Offer the columns, and keep the choice while there is such a column.
 * @param {HTMLSelectElement} select
 * @param {Column[]} columns
 * @param {number} at The one to choose otherwise.
 */
function choose(select, columns, at) {
  const { value } = select;
  const names = columns.map(({ settings }) => settings.name);
  if ([...select.options].map((option) => option.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => element("option", { value: name }, b("column", { name }))));
  } else {
    for (const option of select.options) option.textContent = b("column", { name: option.value });
  }
  select.value = names.includes(value) ? value : names[at] ?? names[0];
}
