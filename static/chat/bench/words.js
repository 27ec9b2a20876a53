// The bench's texts in the page's language.

import { partTexts } from "../part-texts.js";
import english from "./en.js";

/** @typedef {keyof typeof english} BenchWord */

const texts = partTexts(english, () => import("./ko.js"));
export const loadWords = texts.load;
export const b = texts.text;
