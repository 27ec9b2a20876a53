// Presets: settings of answers that the reader saves under a name, to use them in other chats.

import { element } from "../../../dom.js";
import { t } from "../../i18n.js";

/** @typedef {import("../../types.js").Sampling} Sampling */
/** @typedef {import("../../state/preferences.js").Preferences} Preferences */

/**
 * @typedef {object} Callbacks
 * @property {() => void} changed The preferences have.
 * @property {() => Sampling} sampling That in use.
 * @property {(sampling: Sampling) => void} use
 */

const MAX_PRESETS = 50;
const MAX_NAME = 60;

export class PresetsView {
  #preferences;
  #callbacks;
  #select = element("select", { name: "preset" });
  #name = element("input", { type: "text", name: "preset-name", dir: "auto", maxlength: MAX_NAME });
  #problem = element("small", { class: "bad", id: "problem-preset", role: "alert" });
  #delete = element("button", { type: "button", class: "plain-button", onclick: () => this.#remove() });
  #save = element("button", { type: "button", class: "plain-button", onclick: () => this.#add() });
  #root;

  /**
   * @param {HTMLElement} root
   * @param {Preferences} preferences
   * @param {Callbacks} callbacks
   */
  constructor(root, preferences, callbacks) {
    this.#root = root;
    this.#preferences = preferences;
    this.#callbacks = callbacks;
    this.#name.setAttribute("aria-describedby", "problem-preset");
    this.#select.addEventListener("change", () => {
      const chosen = this.#chosen;
      if (chosen !== undefined) callbacks.use(structuredClone(chosen.sampling));
      else this.show(callbacks.sampling());
    });
    this.#name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.#add();
    });
  }

  /**
   * Show which preset these settings are, if they are one.
   * @param {Sampling} sampling
   * @param {string} [preferred] Of several.
   */
  show(sampling, preferred = this.#select.value) {
    const { presets } = this.#preferences;
    const same = presets.filter((one) => isSame(one.sampling, sampling));
    const current = same.find(({ name }) => name === preferred) ?? same[0];
    this.#problem.textContent = "";
    this.#delete.textContent = t("deletePreset");
    this.#save.textContent = t("savePreset");
    this.#delete.disabled = current === undefined;
    this.#select.replaceChildren(element("option", { value: "" }, t(presets.length > 0 ? "noPreset" : "noPresets")),
      ...presets.map(({ name }) => element("option", { value: name }, name)));
    this.#select.value = current?.name ?? "";
    if (this.#root.childElementCount > 0 && this.#root.lang === document.documentElement.lang) return;
    this.#root.lang = document.documentElement.lang;
    this.#root.replaceChildren(
      element("div", { class: "with-button" },
        element("label", {}, element("span", {}, t("preset")), this.#select), this.#delete),
      element("div", { class: "with-button" },
        element("label", {}, element("span", {}, t("presetName")), this.#name), this.#save),
      this.#problem);
  }

  get #chosen() { return this.#preferences.presets.find(({ name }) => name === this.#select.value); }

  #add() {
    const name = this.#name.value.trim();
    const others = this.#preferences.presets.filter((one) => one.name !== name);
    if (name === "" || others.length >= MAX_PRESETS) {
      this.#problem.textContent = name === "" ? t("presetNameless") : t("tooManyPresets", { count: MAX_PRESETS });
      return;
    }
    const sampling = structuredClone(this.#callbacks.sampling());
    this.#preferences.presets = [...others, { name, sampling }].sort((a, b) => a.name.localeCompare(b.name));
    this.#name.value = "";
    this.#changed(name);
  }

  #remove() {
    const chosen = this.#chosen;
    this.#preferences.presets = this.#preferences.presets.filter((one) => one !== chosen);
    this.#changed();
    this.#select.focus();
  }

  /** @param {string} [preferred] */
  #changed(preferred) {
    this.#callbacks.changed();
    this.show(this.#callbacks.sampling(), preferred);
  }
}

/**
 * @param {Sampling} one
 * @param {Sampling} other
 */
function isSame(one, other) {
  /** @param {Sampling} sampling */
  const text = (sampling) => JSON.stringify(Object.entries(sampling).sort(([a], [b]) => (a < b ? -1 : 1)));
  return text(one) === text(other);
}
