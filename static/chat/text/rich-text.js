// Shows a growing text. Complete blocks are rendered once; only the last block is rendered again when text is added. A
// long text is in parts, so that those out of view cost nothing.

import { colour } from "./code.js";
import { element } from "../../dom.js";
import { loadMarkdown } from "./markdown.js";
import { openBlock } from "./open-block.js";

/** @typedef {import("./markdown.js").Markdown} Markdown */
/** @typedef {import("marked").Token} Token */

// A last line of only these characters may become a list, a rule, a fence or a table, or make the line before a
// heading: it is shown once that is clear.
const UNDECIDED = /^[ \t]*[-=*_+~`#>|:]+[ \t]*$/;
// In a numbered list, digits may become its next item.
const UNDECIDED_IN_LIST = /^[ \t]*(?:[-=*_+~`#>|:]+|\d{1,9})[ \t]*$/;
/** So many blocks are in a part, or a few more: see `WITH_MARGINS`. */
const PART_BLOCKS = 16;
const MOST_BLOCKS = 64;
/** No part should begin or end with these: their margins would be added to those of the part. */
const WITH_MARGINS = new Set(["heading", "hr"]);
const REFERENCE = /^ {0,3}\[[^\]\n]+\]:\s/m;

/** @type {Markdown | null | undefined} */
let markdown;

/** Wait for the libraries. Without them, text is shown as it is. */
export async function prepareRichText() {
  markdown = await loadMarkdown();
}

export class RichText {
  #root;
  #text = "";
  #isPlain = true;
  #isComplete = false;
  /** The length of the text in blocks that will not change any more. */
  #closed = 0;
  /** The nodes of the last block. @type {ChildNode[]} */
  #open = [];
  /** The last block, if it can grow where it stands. @type {import("./open-block.js").OpenBlock | null} */
  #openBlock = null;
  /** Where blocks are added: the root, later a part of it. */
  #part;
  /** How many are complete there. */
  #blocks = 0;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    this.#part = root;
    root.classList.add("rich");
  }

  /**
   * Show `text`, which usually begins with what was shown before.
   * @param {string} text
   * @param {boolean} isComplete
   */
  show(text, isComplete) {
    if (!isComplete && this.#isSelected()) return;
    const wanted = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    if (markdown === null || markdown === undefined) return this.#showPlain(wanted);
    const isMore = wanted.length > this.#text.length;
    // What was complete may have ended within a word or a fence, and now goes on.
    if (this.#isPlain || !wanted.startsWith(this.#text) || (this.#isComplete && isMore)) this.#clear();
    this.#text = wanted;
    this.#isComplete = isComplete;
    if (isComplete && REFERENCE.test(wanted)) this.#clear();
    this.#grow(markdown, isComplete);
  }

  /** Whether the reader has selected text in the last block, which drawing it again would undo. */
  #isSelected() {
    const selection = getSelection();
    if (selection === null || selection.isCollapsed) return false;
    return this.#open.some((node) => selection.containsNode(node, true));
  }

  /** @param {string} text */
  #showPlain(text) {
    this.#root.classList.add("plain");
    const last = this.#root.firstChild;
    if (last instanceof Text && text.startsWith(last.data)) last.appendData(text.slice(last.data.length));
    else this.#root.replaceChildren(document.createTextNode(text));
  }

  #clear() {
    this.#root.classList.remove("plain");
    this.#root.replaceChildren();
    this.#isPlain = false;
    this.#closed = 0;
    this.#open = [];
    this.#openBlock = null;
    this.#part = this.#root;
    this.#blocks = 0;
  }

  /**
   * @param {Markdown} renderer
   * @param {boolean} isComplete
   */
  #grow(renderer, isComplete) {
    let tail = this.#text.slice(this.#closed);
    if (!isComplete) {
      tail = decided(tail, this.#openBlock?.hasNumbers ? UNDECIDED_IN_LIST : UNDECIDED);
      if (this.#openBlock?.grow(tail)) return;
    }
    const tokens = renderer.lex(tail);
    // The last block may continue after an empty line, as lists do.
    let last = tokens.length - 1;
    while (last > 0 && tokens[last].type === "space") last -= 1;
    if (isComplete) last = tokens.length;
    const closed = tokens.slice(0, last);
    this.#close(renderer, closed);
    const open = tokens.slice(last);
    if (open.length > 0) {
      this.#endPart(closed.findLast(({ type }) => type !== "space"), open[0]);
      this.#open = this.#replaceOpen(renderer.render(open));
      this.#openBlock = openBlock(renderer, open[0], this.#open[0]);
    }
  }

  /**
   * Render blocks that will not change any more: the first takes the place of the open one.
   * @param {Markdown} renderer
   * @param {Token[]} tokens
   */
  #close(renderer, tokens) {
    if (tokens.length === 0) return;
    const isShown = this.#openBlock?.close(tokens[0]) ?? false;
    const kept = isShown ? this.#open : [];
    if (isShown) this.#open = [];
    const added = this.#replaceOpen(renderer.render(isShown ? tokens.slice(1) : tokens));
    this.#open = [];
    this.#openBlock = null;
    this.#blocks += tokens.length;
    this.#closed += tokens.reduce((length, { raw }) => length + raw.length, 0);
    for (const node of [...kept, ...added]) if (node instanceof Element) void colour(node);
  }

  /**
   * Begin another part if this one is long enough.
   * @param {Token | undefined} before The last complete block; undefined if none has just been added.
   * @param {Token} after The next block.
   */
  #endPart(before, after) {
    if (before === undefined || this.#blocks < PART_BLOCKS) return;
    if (this.#blocks < MOST_BLOCKS && (WITH_MARGINS.has(before.type) || WITH_MARGINS.has(after.type))) return;
    this.#part = element("div", { class: "part" });
    this.#blocks = 0;
    this.#root.append(this.#part);
  }

  /**
   * Put others in the place of the open block's nodes; returns the others.
   * @param {DocumentFragment} nodes
   */
  #replaceOpen(nodes) {
    const added = [...nodes.childNodes];
    for (const node of this.#open) node.remove();
    this.#part.append(nodes);
    return added;
  }
}

/**
 * The text without a last line of which it is not clear what it means.
 * @param {string} text
 * @param {RegExp} undecided
 */
function decided(text, undecided) {
  const end = text.lastIndexOf("\n");
  return undecided.test(text.slice(end + 1)) ? text.slice(0, Math.max(end, 0)) : text;
}
