// Shows a growing text. Complete blocks are rendered once; only the last block is rendered again when text is added.

import { colour } from "./code.js";
import { loadMarkdown } from "./markdown.js";

/** @typedef {import("./markdown.js").Markdown} Markdown */
/** @typedef {import("marked").Token} Token */

// A last line of only these characters may become a list, a rule, a fence or a table, or make the line before a
// heading: it is shown once that is clear.
const UNDECIDED = /(?:^|\n)[ \t]*[-=*_+~`#>|:]+[ \t]*$/;
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
  /** The length of the text in blocks that will not change any more. */
  #closed = 0;
  /** The nodes of the last block. @type {ChildNode[]} */
  #open = [];
  /** The last block, if it is code, which only grows. @type {{ node: Text, text: string, lang: string } | null} */
  #openCode = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    root.classList.add("rich");
  }

  /**
   * Show `text`, which usually begins with what was shown before.
   * @param {string} text
   * @param {boolean} isComplete
   */
  show(text, isComplete) {
    if (!isComplete && this.#isSelected()) return;
    const wanted = text.replace(/\r\n?/g, "\n");
    if (markdown === null || markdown === undefined) return this.#showPlain(wanted);
    if (this.#isPlain || !wanted.startsWith(this.#text)) this.#clear();
    this.#text = wanted;
    if (isComplete && REFERENCE.test(wanted)) this.#clear();
    this.#grow(markdown, isComplete);
    if (isComplete) void colour(this.#root);
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
    this.#openCode = null;
  }

  /**
   * @param {Markdown} renderer
   * @param {boolean} isComplete
   */
  #grow(renderer, isComplete) {
    let tail = this.#text.slice(this.#closed);
    if (!isComplete) tail = tail.slice(0, UNDECIDED.exec(tail)?.index ?? tail.length);
    const tokens = renderer.lex(tail);
    // The last block may continue after an empty line, as lists do.
    let last = tokens.length - 1;
    while (last > 0 && tokens[last].type === "space") last -= 1;
    if (isComplete) last = tokens.length;
    const closed = tokens.slice(0, last);
    const open = tokens.slice(last);
    if (closed.length > 0) {
      this.#replaceOpen(renderer.render(closed));
      this.#open = [];
      this.#openCode = null;
      this.#closed += closed.reduce((length, { raw }) => length + raw.length, 0);
      if (!isComplete) void colour(this.#root);
    }
    if (open.length > 0 && !this.#growCode(open[0])) {
      const nodes = renderer.render(open);
      const added = [...nodes.childNodes];
      this.#replaceOpen(nodes);
      this.#open = added;
      this.#openCode = codeOf(open[0], added);
    }
  }

  /** @param {DocumentFragment} nodes */
  #replaceOpen(nodes) {
    for (const node of this.#open) node.remove();
    this.#root.append(nodes);
  }

  /**
   * Append to a code block: rendering a long one again for each chunk would be slow.
   * @param {Token} token
   */
  #growCode(token) {
    const known = this.#openCode;
    if (known === null || token.type !== "code" || token.lang !== known.lang) return false;
    if (!token.text.startsWith(known.text)) return false;
    known.node.appendData(token.text.slice(known.text.length));
    known.text = token.text;
    return true;
  }
}

/**
 * @param {Token} token
 * @param {ChildNode[]} nodes
 */
function codeOf(token, nodes) {
  if (token.type !== "code" || !(nodes[0] instanceof HTMLElement)) return null;
  // It is highlighted once it is complete.
  const code = nodes[0].querySelector("code");
  if (code === null) return null;
  if (code.firstChild === null) code.append("");
  const node = code.firstChild;
  if (!(node instanceof Text)) return null;
  // Without the line break that the renderer adds: more text may follow.
  node.data = token.text;
  return { node, text: token.text, lang: token.lang };
}
