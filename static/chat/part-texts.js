// The texts of a part of the page that is loaded on demand: apart from the page's own, which are loaded at its start.

import { filled, language } from "./i18n.js";

/**
 * @template {Record<string, string>} Texts
 * @param {Texts} english
 * @param {() => Promise<{ default: Record<keyof Texts, string> }>} korean Loads the texts in Korean.
 */
export function partTexts(english, korean) {
  /** @type {Record<keyof Texts, string>} */
  let texts = english;
  return {
    /** Load the texts in the page's language. */
    async load() {
      texts = language() === "ko" ? (await korean()).default : english;
    },

    /**
     * The text for `word`, with each `{name}` filled in.
     * @param {keyof Texts} word
     * @param {Record<string, string | number>} [values]
     */
    text(word, values = {}) {
      return filled(texts[word], values);
    },
  };
}
