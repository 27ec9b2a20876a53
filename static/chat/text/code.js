// A code block: its language, a button that copies it, and its colours once it is complete.

import { element, writeClipboard } from "../../dom.js";
import { t } from "../i18n.js";

/** Aliases of the languages in static/vendor/highlight. @type {Record<string, string>} */
const ALIASES = {
  "c++": "cpp", cc: "cpp", h: "c", hpp: "cpp", "c#": "csharp", cs: "csharp", console: "shell", sh: "bash", zsh: "bash",
  docker: "dockerfile", golang: "go", html: "xml", svg: "xml", js: "javascript", jsx: "javascript", mjs: "javascript",
  kt: "kotlin", make: "makefile", md: "markdown", patch: "diff", py: "python", py3: "python", rb: "ruby", rs: "rust",
  toml: "ini", cfg: "ini", ts: "typescript", tsx: "typescript", yml: "yaml",
};
const LANGUAGES = new Set(("bash c cpp csharp css diff dockerfile go ini java javascript json kotlin lua makefile "
  + "markdown php python ruby rust shell sql swift typescript xml yaml").split(" "));
const MAX_COLOURED = 50_000;
const NOT_COLOURED = "figure[data-language]";
const COPIED_MS = 2000;

/**
 * @typedef {object} Highlighter The part of highlight.js that is used here.
 * @property {(name: string, grammar: unknown) => void} registerLanguage
 * @property {(name: string) => unknown} getLanguage
 * @property {(text: string, options: { language: string, ignoreIllegals: boolean }) => { value: string }} highlight
 */

/** @type {Promise<Highlighter> | undefined} */
let loading;

/**
 * @param {string} name The language, as the model wrote it.
 * @param {string} text
 * @param {string} [caption]
 */
export function codeFigure(name, text, caption = name || t("code")) {
  const code = element("code", {}, text);
  const button = element("button", { type: "button", class: "copy" }, t("copy"));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  button.addEventListener("click", async () => {
    const isCopied = await writeClipboard(code.textContent ?? "");
    button.textContent = t(isCopied ? "copied" : "notCopied");
    clearTimeout(timer);
    timer = setTimeout(() => { button.textContent = t("copy"); }, COPIED_MS);
  });
  return element("figure", { class: "code", dir: "ltr", dataset: { language: name.toLowerCase() } },
    element("figcaption", {}, element("span", {}, caption), button),
    element("pre", { tabindex: "0", role: "region", "aria-label": caption }, code));
}

/**
 * Highlight the code blocks in `root`, or `root` itself, whose language is known, each once.
 * @param {Element} root
 */
export async function colour(root) {
  const inside = /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll(NOT_COLOURED));
  const figures = root instanceof HTMLElement && root.matches(NOT_COLOURED) ? [root, ...inside] : inside;
  for (const figure of figures) {
    const asked = figure.dataset.language ?? "";
    const language = ALIASES[asked] ?? asked;
    const code = figure.querySelector("code");
    delete figure.dataset.language;
    if (asked === "mermaid") offerDiagram(figure);
    if (code === null || !LANGUAGES.has(language) || (code.textContent ?? "").length > MAX_COLOURED) continue;
    try {
      code.replaceChildren(await coloured(code.textContent ?? "", language));
    } catch (error) {
      console.warn(`${language} is shown without colours:`, error);
    }
  }
}

/** @param {HTMLElement} figure */
function offerDiagram(figure) {
  const button = element("button", { type: "button", class: "copy", onclick: async () => {
    const { toggleDiagram } = await import("./diagram.js");
    await toggleDiagram(figure, button);
  } }, t("diagram"));
  figure.querySelector("figcaption .copy")?.before(button);
}

/**
 * @param {string} text
 * @param {string} language
 */
async function coloured(text, language) {
  const core = "../../vendor/highlight/core.js";
  loading ??= import(core).then((module) => module.default);
  const highlighter = await loading;
  if (highlighter.getLanguage(language) === undefined) {
    const grammar = await import(`../../vendor/highlight/${language}.js`);
    highlighter.registerLanguage(language, grammar.default);
  }
  const { cleaned } = await import("./markdown.js");
  return cleaned(highlighter.highlight(text, { language, ignoreIllegals: true }).value, ["span"]);
}
