// The wire inspector's texts, in the page's language. They are apart from the page's, which are loaded at its start.

import { filled, language } from "../i18n.js";
import english from "./en.js";

/** @typedef {keyof typeof english} Word */

/** @type {Record<Word, string>} */
let words = english;

/** Load the texts in the page's language. */
export async function loadWords() {
  words = language() === "ko" ? (await import("./ko.js")).default : english;
}

/**
 * @param {Word} word
 * @param {Record<string, string | number>} [values]
 */
export function w(word, values = {}) {
  return filled(words[word], values);
}

/** @param {number} count */
export function numeral(count) {
  return count.toLocaleString(language());
}

/** @param {number} bytes */
export function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(1)} kB`;
}
