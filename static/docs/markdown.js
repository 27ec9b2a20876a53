// Turns a little Markdown into elements: paragraphs, headings, lists, tables, `code` and bare addresses.
// Does not know HTML: whatever it is given becomes text, never markup.

import { element } from "../dom.js";

/**
 * The elements of `text`. `level` is the heading level that a single # stands for.
 * @param {string | undefined} text
 * @param {number} [level]
 */
export function markdown(text, level = 2) {
  const blocks = (text ?? "").trim().split(/\n\s*\n/).filter(Boolean);
  return blocks.flatMap((block) => blockElements(block.split("\n"), level));
}

/**
 * @param {string[]} lines
 * @param {number} level
 * @returns {Element[]}
 */
function blockElements(lines, level) {
  const heading = /^(#{1,4}) (.*)$/.exec(lines[0]);
  if (heading) {
    const tag = /** @type {"h1" | "h2" | "h3" | "h4" | "h5" | "h6"} */ (
      `h${Math.min(level + heading[1].length - 1, 6)}`);
    const node = element(tag, {}, inline(heading[2]));
    return [node, ...(lines.length > 1 ? blockElements(lines.slice(1), level) : [])];
  }
  if (lines.length > 1 && lines[0].startsWith("|") && /^\|[\s:|-]+\|$/.test(lines[1])) return [table(lines)];
  if (lines[0].startsWith("- ")) return [list(lines)];
  return [element("p", {}, inline(lines.join(" ")))];
}

/** @param {string[]} lines */
function list(lines) {
  const items = [];
  for (const line of lines) {
    if (line.startsWith("- ")) items.push(line.slice(2));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return element("ul", {}, items.map((item) => element("li", {}, inline(item))));
}

/** @param {string[]} lines */
function table(lines) {
  const [head, , ...rows] = lines.map((line) => line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim()));
  const label = head.join(", ").replaceAll("`", "");
  // So that the keyboard can scroll it where it is wider than the page.
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    element("table", {},
      element("thead", {}, element("tr", {}, head.map((cell) => element("th", { scope: "col" }, inline(cell))))),
      element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell) => element("td", {}, inline(cell))))))));
}

/**
 * The text of one line, with its `code` and its addresses.
 * @param {string} text
 */
export function inline(text) {
  return text.split(/(`[^`]+`|https?:\/\/[^\s)]+[^\s).,;:])/).filter(Boolean).map((part) => {
    if (/^`.+`$/.test(part)) return element("code", {}, part.slice(1, -1));
    if (!/^https?:\/\//.test(part)) return part;
    return element("a", { href: part, rel: "noreferrer" }, part.replace(/^https?:\/\//, ""));
  });
}
