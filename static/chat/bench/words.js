// The bench's texts in the page's language.

import { filled, language } from "../i18n.js";
import english from "./en.js";

/** @typedef {keyof typeof english} BenchWord */

/** @type {Record<BenchWord, string>} */
let words = english;

/** Load the texts in the page's language. */
export async function loadWords() {
  words = language() === "ko" ? (await import("./ko.js")).default : english;
}

/**
 * The text for `word`, with each `{name}` filled in.
 * @param {BenchWord} word
 * @param {Record<string, string | number>} [values]
 */
export function b(word, values = {}) {
  return filled(words[word], values);
}
