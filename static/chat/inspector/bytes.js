// The exact text of a row on each wire; what both have in common is marked.

import { element } from "../../dom.js";
import { chunkIn } from "./recording.js";
import { numeral, w } from "./words.js";

/** @typedef {import("./recording.js").Row} Row */
/** @typedef {import("./recording.js").Piece} Piece */

export class Bytes {
  #frame = pane("frame");
  #event = pane("event");
  root = element("div", { class: "wire-bytes" }, this.#frame.root, this.#event.root);

  /** @param {Row | undefined} row */
  show(row) {
    const chunk = row?.isSame && row.frame !== undefined ? chunkIn(row.frame.text) : "";
    this.#frame.show(row?.frame, chunk);
    this.#event.show(row?.event, chunk);
  }
}

/** @param {"frame" | "event"} word */
function pane(word) {
  const count = element("span");
  const text = element("code");
  const root = element("figure", { class: "code", dir: "ltr" },
    element("figcaption", {}, element("span", {}, w(word)), count),
    element("pre", { tabindex: "0", role: "region", "aria-label": w(word) }, text));
  /**
   * @param {Piece | undefined} piece
   * @param {string} common
   */
  const show = (piece, common) => {
    count.textContent = piece === undefined ? "" : `${numeral(piece.bytes)} ${w("size")}`;
    text.classList.toggle("quiet", piece === undefined);
    if (piece === undefined) {
      text.textContent = w("nothing");
      return;
    }
    const at = common === "" ? -1 : piece.text.indexOf(common);
    const end = piece.text.trimEnd();
    const more = piece.isCut ? `\n${w("cutHere", { bytes: numeral(piece.bytes) })}` : "";
    if (at < 0) text.replaceChildren(end + more);
    else text.replaceChildren(end.slice(0, at), element("mark", {}, common), end.slice(at + common.length));
  };
  return { root, show };
}
