// The dialog for what the reader can set. Does not know what it is good for.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";

/** @typedef {import("../state/preferences.js").Preferences} Preferences */
/** @typedef {import("../types.js").Sampling} Sampling */

const NUMBERS = /** @type {const} */ (["temperature", "top_p", "max_completion_tokens", "seed"]);
const MAX_STOPS = 4;

/**
 * @typedef {object} Told
 * @property {(preferences: Preferences) => void} changed
 * @property {(key: string) => void} key
 */

export class SettingsView {
  #dialog = byId("settings");
  #form = byId("settings-form");
  #preferences;
  #told;

  /**
   * @param {Preferences} preferences
   * @param {Told} told
   */
  constructor(preferences, told) {
    this.#preferences = preferences;
    this.#told = told;
    this.#fill();
    this.#form.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    // As it is typed: there is nothing to save, and nothing to lose.
    this.#form.addEventListener("input", () => this.#read());
    byId("reset").addEventListener("click", () => {
      this.#preferences.sampling = {};
      this.#fill();
      this.#read();
    });
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.addEventListener("click", (event) => {
        const { target } = event;
        // Beside it, or on a button that closes it.
        if (target === dialog || (target instanceof Element && target.closest("[data-closes]"))) dialog.close();
      });
    }
    byId("key-form").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      const key = byId("key").value.trim();
      if (key === "") return;
      byId("key-dialog").close();
      told.key(key);
    });
  }

  open() {
    this.#fill();
    this.#dialog.showModal();
  }

  /** @param {string} reason Why the last one was not good; empty where there was none. */
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
   * @param {string[]} models What the server has.
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
    this.#told.changed(this.#preferences);
  }
}

/**
 * A line in which `\n` is a new line, as far as it can be read so.
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
