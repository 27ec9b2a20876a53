// The examples of questions on the empty page.

import { byId, element } from "../../../dom.js";
import { t } from "../../i18n.js";

/** @typedef {import("../../i18n.js").Word} Word */

/** @type {Word[]} */
const FOR_GUIDE = ["try1", "try2", "try3", "try4"];
/** @type {Word[]} */
const FOR_ANY = ["tryAny1", "tryAny2", "tryAny3", "tryAny4"];
let shown = "";

/**
 * @param {string} model Empty without one: then there are none.
 * @param {(question: string) => void} ask
 */
export function showTries(model, ask) {
  const words = model === "guide" ? FOR_GUIDE : FOR_ANY;
  const texts = model === "" ? [] : words.map((word) => t(word));
  if (texts.join() === shown) return;
  shown = texts.join();
  byId("tries").replaceChildren(...texts.map((text) => element("li", {},
    element("button", { type: "button", onclick: () => ask(text) }, text))));
}
