// The table of a recording: a row for each chunk, which can be chosen with the arrow keys.

import { element } from "../../dom.js";
import { numeral, w } from "./words.js";

/** @typedef {import("./recording.js").Row} Row */
/** @typedef {import("./recording.js").Piece} Piece */
/** @typedef {{ row: HTMLTableRowElement, button: HTMLButtonElement, cells: HTMLElement[], note: HTMLElement }} Drawn */

const NEAR_END_PX = 40;
/** Of the columns, as classes. */
const WIDTHS = ["wire-narrow", null, "wire-time", "wire-size", "wire-time", "wire-size", "wire-wide"];
const ARROWS = { sent: "↑", received: "↓", lost: "✕" };

export class Table {
  #body = element("tbody");
  #onChoice;
  /** @type {Map<Row, Drawn>} */
  #drawn = new Map();
  /** @type {Row | null} */
  #chosen = null;
  #isAtEnd = true;

  /** @param {(row: Row | null) => void} onChoice Null: the newest again. */
  constructor(onChoice) {
    this.#onChoice = onChoice;
    /** @type {(word: import("./words.js").Word, properties: object) => HTMLElement} */
    const head = (word, properties) => element("th", { scope: "col", ...properties }, w(word));
    this.root = element("div", { class: "wire-rows", role: "region", tabindex: "0", "aria-label": w("frames") },
      element("table", {},
        element("caption", { class: "off-screen" }, w("frames")),
        element("colgroup", {}, WIDTHS.map((width) => element("col", { class: width }))),
        element("thead", {},
          element("tr", {}, head("number", { rowspan: "2" }), head("frame", { colspan: "3", scope: "colgroup" }),
            head("sse", { colspan: "2", scope: "colgroup" }), head("comparison", { rowspan: "2" })),
          element("tr", {}, element("td"), head("time", {}), head("size", {}), head("time", {}), head("size", {}))),
        this.#body));
    this.root.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.root;
      this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    }, { passive: true });
    this.#body.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Remove all rows. */
  clear() {
    this.#body.replaceChildren();
    this.#drawn.clear();
    this.#chosen = null;
    this.#isAtEnd = true;
  }

  /**
   * Draw these rows, and remove those that are no longer kept.
   * @param {{ changed: Set<Row>, dropped: Row[] }} changes
   */
  draw({ changed, dropped }) {
    for (const row of dropped) this.#remove(row);
    for (const row of changed) this.#fill(row, this.#drawn.get(row) ?? this.#add(row));
    if (this.#isAtEnd && this.#chosen === null) this.root.scrollTop = this.root.scrollHeight;
  }

  /** @param {Row} row */
  #remove(row) {
    const drawn = this.#drawn.get(row);
    if (drawn === undefined) return;
    if (row === this.#chosen) this.#choose(null);
    this.#drawn.delete(row);
    drawn.row.remove();
    const [first] = this.#drawn.values();
    if (drawn.button.tabIndex === 0 && first !== undefined) first.button.tabIndex = 0;
  }

  /** @param {Row} row */
  #add(row) {
    const button = element("button", { type: "button", tabindex: "-1", onclick: () => this.#choose(row) });
    const note = element("td", { class: "wire-note" });
    const cells = Array.from({ length: 4 }, () => element("td", { class: "number" }));
    const drawn = { row: element("tr", {}, row.seq ? element("th", { scope: "row" }, String(row.seq)) : element("td"),
      element("td", { class: "wire-label" }, button), cells, note), button, cells, note };
    // One of them can be reached by the Tab key, the others from there by the arrow keys.
    if (this.#drawn.size === 0) button.tabIndex = 0;
    this.#drawn.set(row, drawn);
    this.#body.append(drawn.row);
    return drawn;
  }

  /**
   * @param {Row} row
   * @param {Drawn} drawn
   */
  #fill({ kind, label, seq, frame, event, isReplayed, isSame }, { row, button, cells, note }) {
    row.dataset.kind = kind;
    row.classList.toggle("replayed", isReplayed);
    // Of a chunk that came as an event alone, so far, there is no frame to show.
    row.classList.toggle("missing", seq > 0 && frame === undefined);
    const arrow = element("span", { "aria-hidden": "true" }, ARROWS[kind]);
    if (kind === "lost") button.replaceChildren(arrow, ` ${w("lost", { seq: label })}`);
    else button.replaceChildren(arrow, element("span", { class: "off-screen" }, w(kind)), ` ${label}`);
    [...times(frame), ...times(event)].forEach((text, index) => { cells[index].textContent = text; });
    const match = isSame === undefined ? "" : w(isSame ? "identical" : "different");
    note.textContent = [isReplayed ? w("replayed") : "", match].filter(Boolean).join(" · ");
    note.classList.toggle("bad", isSame === false);
  }

  /** @param {Row | null} row */
  #choose(row) {
    const wanted = row === this.#chosen ? null : row;
    const before = this.#chosen && this.#drawn.get(this.#chosen);
    before?.button.removeAttribute("aria-current");
    this.#chosen = wanted;
    if (wanted !== null) {
      for (const { button } of this.#drawn.values()) button.tabIndex = -1;
      const drawn = /** @type {Drawn} */ (this.#drawn.get(wanted));
      drawn.button.tabIndex = 0;
      drawn.button.setAttribute("aria-current", "true");
    }
    this.#onChoice(wanted);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const rows = [...this.#drawn.keys()];
    const at = rows.findIndex((row) => this.#drawn.get(row)?.button === document.activeElement);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))];
    if (row !== this.#chosen) this.#choose(row);
    this.#drawn.get(row)?.button.focus();
  }
}

/** @param {Piece | undefined} piece */
function times(piece) {
  return piece === undefined ? ["", ""] : [`${numeral(Math.round(piece.at))} ms`, numeral(piece.bytes)];
}
