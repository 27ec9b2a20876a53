// The list of keyboard shortcuts.

import { element } from "../../../dom.js";
import { t } from "../../i18n.js";
import { icon } from "../../icons.js";

/** @typedef {import("../../i18n.js").Word} Word */
/** @typedef {import("../shortcuts.js").Actions} Actions */

const COMMAND = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";

/** @type {[string[][], Word][]} */
const KEYS = [
  [[["Enter"]], "shortcutSend"],
  [[["Shift", "Enter"]], "shortcutLine"],
  [[["↑"]], "shortcutRecall"],
  [[["Esc"]], "shortcutStop"],
  [[["/"]], "shortcutBox"],
  [[[COMMAND, "Shift", "O"]], "shortcutNew"],
  [[[COMMAND, "K"]], "shortcutSearch"],
  [[[COMMAND, "Shift", "S"]], "shortcutChats"],
  [[[COMMAND, "Shift", "E"]], "shortcutEdit"],
  [[[COMMAND, "Shift", "C"]], "shortcutCopy"],
  [[["?"], [COMMAND, "/"]], "shortcutSheet"],
];

export class ShortcutSheet {
  #dialog;

  /** @param {Actions} actions */
  constructor({ hasSingleKeys, setSingleKeys }) {
    const single = element("input", { type: "checkbox" });
    single.checked = hasSingleKeys();
    single.addEventListener("change", () => setSingleKeys(single.checked));
    this.#dialog = element("dialog", { id: "shortcuts", "aria-labelledby": "shortcuts-title" },
      element("form", { onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        element("div", { class: "dialog-head" },
          element("h2", { id: "shortcuts-title" }, t("shortcuts")),
          element("button", { type: "button", class: "tool", "aria-label": t("close"), onclick: () => this.#dialog.close() },
            icon("close"))),
        element("dl", { class: "keys" }, KEYS.map(([ways, word]) => element("div", {},
          element("dt", {}, ways.flatMap((way, index) => [...(index > 0 ? [" "] : []), combination(way)])),
          element("dd", {}, t(word))))),
        element("label", { class: "check" }, single, element("span", {}, t("singleKeys")))));
    // A click outside of it.
    this.#dialog.addEventListener("click", ({ target }) => { if (target === this.#dialog) this.#dialog.close(); });
    this.#dialog.addEventListener("close", () => this.#dialog.remove());
  }

  open() {
    document.body.append(this.#dialog);
    this.#dialog.showModal();
  }
}

/** @param {string[]} keys */
function combination(keys) {
  return element("span", {}, keys.map((key) => element("kbd", {}, key)));
}
