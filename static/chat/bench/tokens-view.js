// An answer's text, and the probabilities of its tokens: under the pointer, or by the arrow keys.

import { element } from "../../dom.js";
import { language } from "../i18n.js";
import { b } from "./words.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Piece} Piece */

/** Tokens less likely than these are marked, the least likely most. */
const LEVELS = [0.9, 0.5, 0.2];
/** @type {Record<string, number>} */
const STEPS = { ArrowRight: 1, ArrowLeft: -1 };
const GAP_PX = 6;

export class TokensView {
  #card;
  /** @type {Run | null} */
  #run = null;
  #drawn = 0;
  /** The token whose probabilities are shown. @type {HTMLElement | null} */
  #chosen = null;

  /** @param {TokenCard} card */
  constructor(card) {
    this.#card = card;
    this.root = element("div", { class: "bench-text", tabindex: "0", role: "group", dir: "auto" });
    const choose = (/** @type {Event} */ { target }) => this.#choose(target instanceof HTMLElement ? target : null);
    this.root.addEventListener("pointerover", choose);
    this.root.addEventListener("click", choose);
    this.root.addEventListener("pointerleave", () => this.#choose(null));
    this.root.addEventListener("blur", () => this.#choose(null));
    this.root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show what has come. @param {Run} run */
  draw(run) {
    if (run !== this.#run) {
      this.#choose(null);
      this.#run = run;
      this.#drawn = 0;
      this.root.replaceChildren();
    }
    if (run.pieces.length > 0) {
      const added = run.pieces.slice(this.#drawn).map((piece, at) => tokenSpan(piece, this.#drawn + at));
      this.root.append(...added);
      this.#drawn = run.pieces.length;
      return;
    }
    const last = this.root.firstChild;
    if (last instanceof Text) last.appendData(run.text.slice(last.length));
    else if (run.text !== "") this.root.append(run.text);
  }

  /** @param {HTMLElement | null} target */
  #choose(target) {
    const piece = this.#run?.pieces[Number(target?.dataset.at)];
    this.#chosen?.classList.remove("chosen");
    this.#chosen = piece === undefined ? null : target;
    if (piece === undefined || this.#chosen === null) return this.#card.hide();
    this.#chosen.classList.add("chosen");
    this.#card.show(piece, this.#chosen);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape" && this.#chosen !== null) {
      // Nothing else is to be stopped or closed by it.
      event.stopPropagation();
      this.#choose(null);
    }
    const step = STEPS[event.key];
    const { pieces } = this.#run ?? { pieces: [] };
    if (step === undefined || pieces.length === 0) return;
    event.preventDefault();
    const from = this.#chosen === null ? Math.min(0, -step) : Number(this.#chosen.dataset.at);
    const to = Math.min(pieces.length - 1, Math.max(0, from + step));
    const span = /** @type {HTMLElement} */ (this.root.children[to]);
    span.scrollIntoView({ block: "nearest" });
    this.#choose(span);
  }
}

/** The probabilities of one token and of those that could have come in its place. */
export class TokenCard {
  /** The token that it is about. @type {HTMLElement | null} */
  #beside = null;
  root = element("div", { class: "bench-card", role: "status", hidden: true });

  /**
   * @param {Piece} piece
   * @param {HTMLElement} beside
   */
  show({ tokens }, beside) {
    this.root.replaceChildren(...tokens.flatMap((token) => [
      element("p", {}, element("span", {}, b("tokenOf", { text: visible(token.token) })), " ",
        element("strong", {}, percent(Math.exp(token.logprob)))),
      element("ol", {}, token.top_logprobs.map(candidate)),
    ]));
    this.root.hidden = false;
    this.#beside = beside;
    this.follow();
  }

  /** The token may have moved: stay beside it. */
  follow() {
    const beside = this.#beside;
    if (this.root.hidden || beside === null) return;
    const at = beside.getClientRects()[0] ?? beside.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.root;
    const below = at.bottom + GAP_PX;
    const top = below + height <= innerHeight ? below : Math.max(GAP_PX, at.top - GAP_PX - height);
    this.root.style.top = `${top}px`;
    this.root.style.left = `${Math.max(GAP_PX, Math.min(at.left, innerWidth - width - GAP_PX))}px`;
  }

  hide() { this.root.hidden = true; }
}

/** @param {{ token: string, logprob: number }} one */
function candidate({ token, logprob }) {
  const share = Math.exp(logprob);
  const bar = element("span", { class: "share", "aria-hidden": "true" });
  bar.style.width = `${(share * 100).toFixed(1)}%`;
  return element("li", {}, bar, element("span", { dir: "auto" }, visible(token)), " ", element("span", {}, percent(share)));
}

/**
 * @param {Piece} piece
 * @param {number} at
 */
function tokenSpan({ text, tokens }, at) {
  const least = Math.exp(Math.min(...tokens.map(({ logprob }) => logprob)));
  const level = LEVELS.filter((limit) => least < limit).length;
  return element("span", { class: "token", dataset: { at, level } }, text);
}

/** With its white space visible. @param {string} token */
function visible(token) {
  return `“${token.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥")}”`;
}

/** @param {number} share */
export function percent(share) {
  const digits = share < 0.1 || share > 0.995 ? 2 : 1;
  return share.toLocaleString(language(), { style: "percent", maximumFractionDigits: digits });
}
