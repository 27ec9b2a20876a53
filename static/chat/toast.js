// A short message with at most one action, which disappears by itself.

import { element } from "../dom.js";

const SHOWN_MS = 8000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * @param {HTMLElement} place
 * @param {string} text
 * @param {{ label: string, act: () => void }} [action]
 */
export function toast(place, text, action) {
  clearTimeout(timer);
  const close = () => place.replaceChildren();
  place.replaceChildren(element("div", { class: "toast" }, element("span", { dir: "auto" }, text),
    action ? element("button", { type: "button", onclick: () => { close(); action.act(); } }, action.label) : null));
  timer = setTimeout(close, SHOWN_MS);
}
