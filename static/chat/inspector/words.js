// The wire inspector's texts, in the page's language.

import { language } from "../i18n.js";
import { partTexts } from "../part-texts.js";
import english from "./en.js";

/** @typedef {keyof typeof english} Word */

const texts = partTexts(english, () => import("./ko.js"));
export const loadWords = texts.load;
export const w = texts.text;

/** @param {number} count */
export function numeral(count) {
  return count.toLocaleString(language());
}

/** @param {number} bytes */
export function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(1)} kB`;
}
