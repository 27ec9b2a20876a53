// Translates the page.

import english from "./strings/en.js";

/** @typedef {keyof typeof english} Word */

const LANGUAGES = ["en", "ko"];

/** @type {Record<Word, string>} */
let words = english;
let current = "en";

/**
 * Load the texts in `wanted`, or in the browser's language.
 * @param {string} wanted
 */
export async function useLanguage(wanted) {
  const asked = [wanted, ...navigator.languages].map((tag) => tag.slice(0, 2));
  current = asked.find((tag) => LANGUAGES.includes(tag)) ?? "en";
  words = current === "ko" ? (await import("./strings/ko.js")).default : english;
  document.documentElement.lang = current;
}

export function language() {
  return current;
}

/**
 * The text for `word`, with each `{name}` filled in.
 * @param {Word} word
 * @param {Record<string, string | number>} [values]
 */
export function t(word, values = {}) {
  return filled(words[word], values);
}

/**
 * `text` with each `{name}` filled in.
 * @param {string} text
 * @param {Record<string, string | number>} values
 */
export function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/**
 * Translate the page's markup: `data-t` is for the content, `data-t-label` and the like for an attribute.
 * @param {ParentNode} root
 */
export function translate(root) {
  for (const node of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-t]"))) {
    node.textContent = t(/** @type {Word} */ (node.dataset.t));
  }
  for (const [attribute, key] of [["aria-label", "tLabel"], ["placeholder", "tPlaceholder"], ["title", "tTitle"]]) {
    const selector = `[data-${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}]`;
    for (const node of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll(selector))) {
      node.setAttribute(attribute, t(/** @type {Word} */ (node.dataset[key])));
    }
  }
}
