// Grows a text's last block where it stands, if it is code, a table, a list or plain words: rendering a long one again
// for each addition would take ever longer.

/** @typedef {import("./markdown.js").Markdown} Markdown */
/** @typedef {import("marked").Token} Token */
/** @typedef {import("marked").Tokens.List} List */

/**
 * @typedef {object} OpenBlock
 * @property {(raw: string) => boolean} grow Show the block with this source, which begins with the source before. False,
 *   and nothing is changed, if it has to be rendered again: it has ended, or its beginning means something else now.
 * @property {(token: Token) => boolean} close The same, for the block as it stands in the end.
 * @property {boolean} [hasNumbers] Whether a line of digits may be the beginning of its next item.
 */

/** An item can still change the looseness of the list, which is that of all items, together with the item before. */
const OPEN_ITEMS = 2;

/** What may mean something in a paragraph, or end it. */
const MEANINGFUL = /[\n&<>[\]\\`*_~$@|#]|www\.|:\/\//i;
/** After so many characters, a line of words stays a paragraph. */
const SURELY_WORDS = 40;

/**
 * The block that was just rendered; null for a kind that is always rendered again.
 * @param {Markdown} renderer
 * @param {Token} token
 * @param {ChildNode | undefined} root What it was rendered to.
 * @returns {OpenBlock | null}
 */
export function openBlock(renderer, token, root) {
  if (!(root instanceof HTMLElement)) return null;
  if (token.type === "code") return openCode(/** @type {import("marked").Tokens.Code} */ (token), root);
  if (token.type === "table") return openTable(renderer, token.raw, root);
  if (token.type === "list") return openList(renderer, /** @type {List} */ (token), root);
  if (token.type === "paragraph") return openParagraph(token.raw, root);
  return null;
}

/**
 * @param {string} raw
 * @param {HTMLElement} root
 * @returns {OpenBlock | null}
 */
function openParagraph(raw, root) {
  const node = root.firstChild;
  // Words are rendered as they are; else there would be other nodes, or other text.
  if (raw.length < SURELY_WORDS || MEANINGFUL.test(raw) || !(node instanceof Text) || node.data !== raw) return null;
  return {
    grow(grown) {
      const { length } = node;
      // With the last word, the beginning of which may have been shown.
      if (MEANINGFUL.test(grown.slice(Math.max(0, length - SURELY_WORDS)))) return false;
      node.appendData(grown.slice(length));
      return true;
    },
    close: () => false,
  };
}

/**
 * @param {import("marked").Tokens.Code} token
 * @param {HTMLElement} root
 * @returns {OpenBlock | null}
 */
function openCode({ raw, text }, root) {
  const code = root.querySelector("code");
  if (code === null) return null;
  const node = document.createTextNode(text);
  // Without the line break that the renderer adds: more text may follow.
  code.replaceChildren(node);
  const opening = /^(`{3,}|~{3,})[^\n]*\n/.exec(raw);
  if (opening === null) return null;
  const [{ length: start }, fence] = opening;
  const closing = new RegExp(`^ {0,3}${fence}${fence[0]}* *$`, "m");
  let seen = raw.length;
  return {
    grow(grown) {
      // The last line that was seen may have been the beginning of a fence.
      if (closing.test(grown.slice(Math.max(start, grown.lastIndexOf("\n", seen - 1) + 1)))) return false;
      seen = grown.length;
      const end = grown.length > start && grown.endsWith("\n") ? seen - 1 : seen;
      node.appendData(grown.slice(start + node.length, end));
      return true;
    },
    close(token) {
      if (token.type !== "code" || !token.text.startsWith(node.data)) return false;
      node.appendData(token.text.slice(node.length));
      if (!node.data.endsWith("\n")) node.appendData("\n");
      return true;
    },
  };
}

/**
 * @param {Markdown} renderer
 * @param {string} raw
 * @param {HTMLElement} root
 * @returns {OpenBlock | null}
 */
function openTable(renderer, raw, root) {
  const body = root.querySelector("tbody");
  const head = /^[^\n]*\n[^\n]*\n/.exec(raw)?.[0];
  if (body === null || head === undefined) return null;
  /** Where the last row begins. */
  let at = lastLine(raw);
  /** @param {string} grown */
  const grow = (grown) => {
    // Whether a line is a row does not depend on the rows before it.
    const tokens = renderer.lex(head + grown.slice(at));
    if (tokens.length !== 1 || tokens[0].type !== "table") return false;
    const rows = renderer.render(tokens).querySelectorAll("tbody > tr");
    if (rows.length === 0) return false;
    body.lastElementChild?.replaceWith(...rows);
    at += lastLine(tokens[0].raw) - head.length;
    return true;
  };
  return { grow, close: (token) => token.type === "table" && grow(token.raw) };
}

/** Where the last line begins that is not empty. @param {string} raw */
function lastLine(raw) {
  return raw.trimEnd().lastIndexOf("\n") + 1;
}

/**
 * @param {Markdown} renderer
 * @param {List} token
 * @param {HTMLElement} root
 * @returns {OpenBlock}
 */
function openList(renderer, { items, ordered, loose }, root) {
  /** Where the last items begin. */
  let at = lengthBefore(items);
  let open = Math.min(items.length, OPEN_ITEMS);
  /** @param {string} grown */
  const grow = (grown) => {
    const tokens = renderer.lex(grown.slice(at)).filter(({ type }) => type !== "space");
    const list = /** @type {List} */ (tokens[0]);
    const isSame = tokens.length === 1 && list.type === "list" && list.ordered === ordered && list.loose === loose;
    if (!isSame || list.items.length < open) return false;
    const added = renderer.render(tokens).firstElementChild?.children ?? [];
    for (; open > 0; open -= 1) root.lastElementChild?.remove();
    root.append(...added);
    at += lengthBefore(list.items);
    open = Math.min(list.items.length, OPEN_ITEMS);
    return true;
  };
  return { grow, close: (token) => token.type === "list" && grow(token.raw), hasNumbers: ordered };
}

/** The length of all items but the last ones. @param {List["items"]} items */
function lengthBefore(items) {
  return items.slice(0, -OPEN_ITEMS).reduce((length, { raw }) => length + raw.length, 0);
}
