// The settings dialog and the API key dialog.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";

/** @typedef {import("../state/preferences.js").Preferences} Preferences */
/** @typedef {import("../types.js").Sampling} Sampling */

const NUMBERS = /** @type {const} */ (["temperature", "top_p", "max_completion_tokens", "seed"]);
const MAX_STOPS = 4;

/**
 * @typedef {object} Callbacks
 * @property {(preferences: Preferences) => void} changed
 * @property {(key: string) => void} key
 */

export class SettingsView {
  #dialog = byId("settings");
  #form = byId("settings-form");
  #preferences;
  #callbacks;

  /**
   * @param {Preferences} preferences
   * @param {Callbacks} callbacks
   */
  constructor(preferences, callbacks) {
    this.#preferences = preferences;
    this.#callbacks = callbacks;
    this.#fill();
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    // Settings apply as they are typed; there is no button to save them.
    this.#form.addEventListener("input", () => this.#read());
    byId("reset").addEventListener("click", () => {
      this.#preferences.sampling = {};
      this.#fill();
      this.#read();
    });
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.addEventListener("click", (event) => {
        const { target } = event;
        // A click outside of it, or on a button that closes it.
        if (target === dialog || (target instanceof Element && target.closest("[data-closes]"))) dialog.close();
      });
    }
    byId("key-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      const key = byId("key").value.trim();
      if (key === "") return;
      byId("key-dialog").close();
      callbacks.key(key);
    });
  }

  open() {
    this.#fill();
    this.#dialog.showModal();
  }

  /** @param {string} reason Why the server refused the last key; empty if there was none. */
  askForKey(reason) {
    byId("key-reason").textContent = reason;
    const dialog = byId("key-dialog");
    if (!dialog.open) {
      this.#dialog.close();
      dialog.showModal();
    }
    byId("key").value = "";
    byId("key").focus();
  }

  /**
   * @param {string[]} models The server's.
   * @param {string} current
   */
  showModels(models, current) {
    for (const select of [this.#form.elements.model, byId("model")]) {
      const known = [...select.options].map(({ value }) => value);
      if (known.join("\n") !== models.join("\n")) {
        select.replaceChildren(...models.map((id) => element("option", { value: id }, id)));
      }
      select.value = current;
      select.disabled = models.length === 0;
    }
    byId("model").hidden = models.length === 0;
  }

  #fill() {
    const { elements } = this.#form;
    const { sampling, theme, language } = this.#preferences;
    elements.system.value = sampling.system ?? "";
    for (const name of NUMBERS) elements[name].value = sampling[name] ?? "";
    elements.stop.value = (sampling.stop ?? []).map((text) => JSON.stringify(text).slice(1, -1)).join("\n");
    elements.theme.value = theme;
    elements.language.value = language;
  }

  #read() {
    const { elements } = this.#form;
    /** @type {Sampling} */
    const sampling = {};
    if (elements.system.value.trim() !== "") sampling.system = elements.system.value;
    for (const name of NUMBERS) {
      const field = elements[name];
      if (field.value.trim() !== "" && field.validity.valid) sampling[name] = Number(field.value);
    }
    const stops = elements.stop.value.split("\n").filter(Boolean).map(unescaped);
    elements.stop.setCustomValidity(stops.length > MAX_STOPS ? t("tooManyStops", { count: MAX_STOPS }) : "");
    elements.stop.reportValidity();
    if (stops.length > 0 && stops.length <= MAX_STOPS) sampling.stop = stops;
    this.#preferences.sampling = sampling;
    this.#preferences.model = elements.model.value || this.#preferences.model;
    this.#preferences.theme = elements.theme.value;
    this.#preferences.language = elements.language.value;
    this.#callbacks.changed(this.#preferences);
  }
}

/**
 * Replace JSON escapes such as `\n`; a line with invalid ones stays as it is.
 * @param {string} line
 * @returns {string}
 */
function unescaped(line) {
  try {
    return JSON.parse(`"${line.replace(/(?<!\\)"/g, '\\"')}"`);
  } catch {
    return line;
  }
}
