// Turns Markdown into elements, with the libraries in static/vendor. The text comes from a model and is not trusted:
// no markup, scripts, styles or remote content get through.

import { element } from "../../dom.js";
import { codeFigure } from "./code.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

/** @typedef {import("marked").Token} Token */
/** @typedef {import("marked").Tokens.Generic} Generic */

/**
 * @typedef {object} Markdown
 * @property {(text: string) => Token[]} lex The blocks of a text.
 * @property {(tokens: Token[]) => DocumentFragment} render
 */

// Only what Markdown generates; markup in the text is shown as text.
const TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p", "pre", "span",
  "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const ATTRIBUTES = ["align", "alt", "class", "href", "src", "start", "title"];
const LINK = /^(?:https?|mailto):/i;
const OWN_IMAGE = /^data:image\/(?:gif|jpeg|png|webp);base64,/i;

/** @type {Promise<Markdown | null> | undefined} */
let loading;

/** Load the libraries, once; null if they are missing, and answers are shown as plain text. */
export function loadMarkdown() {
  loading ??= load().catch((error) => {
    console.warn("Answers are shown as plain text:", error);
    return null;
  });
  return loading;
}

/**
 * Sanitize markup that a library generated.
 * @param {string} markup
 * @param {string[]} tags
 * @returns {Promise<DocumentFragment>}
 */
export async function cleaned(markup, tags) {
  const { purify } = await loadPurify();
  return purify(markup, tags);
}

async function loadPurify() {
  // Not a literal, so that the type checker does not look for a file that may be missing.
  const address = "../../vendor/purify.js";
  /** @type {import("dompurify").DOMPurify} */
  const library = (await import(address)).default;
  /** @type {(markup: string, tags: string[]) => DocumentFragment} */
  const purify = (markup, tags) => library.sanitize(markup, {
    RETURN_DOM_FRAGMENT: true, ALLOWED_TAGS: tags, ALLOWED_ATTR: ATTRIBUTES, ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
  });
  return { purify };
}

/** @returns {Promise<Markdown>} */
async function load() {
  const address = "../../vendor/marked.js";
  const [{ Marked }, { purify }] = await Promise.all([
    /** @type {Promise<typeof import("marked")>} */ (import(address)), loadPurify(),
  ]);
  const marked = new Marked({ gfm: true, breaks: true });
  marked.use({ extensions: [mathBlock, mathInline], renderer });
  return {
    lex: (text) => marked.lexer(text),
    render: (tokens) => finished(purify(marked.parser(tokens), TAGS)),
  };
}

// -- rendering --------------------------------------------------------------------------------------------------------

/** @param {string} text */
function escaped(text) {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** @type {import("marked").RendererObject} */
const renderer = {
  html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? "<br>" : escaped(text)),
  // The page itself has headings of levels 1 and 2.
  heading({ tokens, depth }) {
    const level = Math.min(depth + 2, 6);
    return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
  },
  checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  // A remote image would reveal the reader to its server, so it becomes a link. Data URLs are shown.
  image({ href, text }) {
    if (OWN_IMAGE.test(href)) return `<img src="${escaped(href)}" alt="${escaped(text)}">`;
    return `<a class="remote-image" href="${escaped(href)}">${escaped(text || href)}</a>`;
  },
  link({ href, title, tokens }) {
    const inside = this.parser.parseInline(tokens);
    if (!LINK.test(href)) return `<span>${inside}</span>`;
    return `<a href="${escaped(href)}"${title ? ` title="${escaped(title)}"` : ""}>${inside}</a>`;
  },
};

// Formulas are kept as written, for `math.js`: Markdown would interpret their underscores and backslashes.

/** @type {import("marked").TokenizerAndRendererExtension} */
const mathBlock = {
  name: "mathBlock",
  level: "block",
  start: (text) => text.match(/^(?:\$\$|\\\[)/m)?.index,
  tokenizer(text) {
    const found = /^(?:\$\$[\s\S]+?\$\$|\\\[[\s\S]+?\\\])[ \t]*(?:\n+|$)/.exec(text);
    return found ? { type: "mathBlock", raw: found[0], text: found[0].trim() } : undefined;
  },
  renderer: ({ text }) => `<p class="math">${escaped(text)}</p>`,
};

/** @type {import("marked").TokenizerAndRendererExtension} */
const mathInline = {
  name: "mathInline",
  level: "inline",
  start: (text) => text.match(/\$|\\[([]/)?.index,
  tokenizer(text) {
    // A dollar sign next to a space, or before a digit, is a price.
    const found = /^(?:\$\$[^$]+\$\$|\\\([\s\S]+?\\\)|\\\[[\s\S]+?\\\]|\$(?![\s$])[^$\n]*?[^\s$\\]\$(?!\d))/.exec(text);
    return found ? { type: "mathInline", raw: found[0], text: found[0] } : undefined;
  },
  renderer: ({ text }) => `<span class="math">${escaped(text)}</span>`,
};

// -- finishing touches ------------------------------------------------------------------------------------------------

/** Loaded with the first formula. @type {typeof import("./math.js").typeset | undefined} */
let typeset;

/** @param {HTMLElement} formula */
async function typesetLater(formula) {
  ({ typeset } = await import("./math.js"));
  typeset(formula);
}

/** @param {DocumentFragment} fragment */
function finished(fragment) {
  for (const link of fragment.querySelectorAll("a")) {
    if (!LINK.test(link.getAttribute("href") ?? "")) {
      link.removeAttribute("href");
      continue;
    }
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    if (!link.classList.contains("remote-image")) continue;
    link.title = t("remoteImage", { host: link.host });
    link.prepend(icon("image"));
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    const code = pre.querySelector("code");
    const name = /(?:^|\s)language-(\S+)/.exec(code?.className ?? "")?.[1] ?? "";
    pre.replaceWith(codeFigure(name, code?.textContent ?? ""));
  }
  for (const formula of /** @type {NodeListOf<HTMLElement>} */ (fragment.querySelectorAll(".math"))) {
    if (typeset !== undefined) typeset(formula);
    else void typesetLater(formula).catch((error) => console.warn("Formulas are shown as they were written:", error));
  }
  for (const table of fragment.querySelectorAll("table")) {
    const label = [...table.querySelectorAll("th")].map((cell) => cell.textContent).join(", ");
    // So that the keyboard can scroll a wide table.
    const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label || t("table") });
    table.replaceWith(scroll);
    scroll.append(table);
  }
  for (const block of fragment.children) if (block.tagName !== "FIGURE") block.setAttribute("dir", "auto");
  return fragment;
}
