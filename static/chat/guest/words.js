// The texts about linked answers, in the page's language.

import { filled, language } from "../i18n.js";
import english from "./en.js";

/** @typedef {keyof typeof english} GuestWord */

/** @type {Record<GuestWord, string>} */
let words = english;

/** Load the texts in the page's language. */
export async function loadWords() {
  words = language() === "ko" ? (await import("./ko.js")).default : english;
}

/**
 * The text for `word`, with each `{name}` filled in.
 * @param {GuestWord} word
 * @param {Record<string, string | number>} [values]
 */
export function g(word, values = {}) {
  return filled(words[word], values);
}
