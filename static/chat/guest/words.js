// The texts about linked answers, in the page's language.

import { partTexts } from "../part-texts.js";
import english from "./en.js";

/** @typedef {keyof typeof english} GuestWord */

const texts = partTexts(english, () => import("./ko.js"));
export const loadWords = texts.load;
export const g = texts.text;
