// The settings dialog and the API key dialog.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";
import { toast } from "../toast.js";

/** @typedef {import("../state/preferences.js").Preferences} Preferences */
/** @typedef {import("../types.js").Sampling} Sampling */

/**
 * @typedef {object} Callbacks
 * @property {(preferences: Preferences) => void} changed
 * @property {() => Sampling} sampling That of the shown chat, or of new ones.
 * @property {(sampling: Sampling) => void} setSampling
 * @property {(model: string) => void} setModel Of the shown chat, or of new ones.
 * @property {() => boolean} isInChat Whether a chat is shown, and not a new one.
 * @property {(key: string) => void} key
 */

export class SettingsView {
  #dialog = byId("settings");
  #form = byId("settings-form");
  #preferences;
  #callbacks;
  /** Loaded with the first opening. @type {import("./settings/answer-settings.js").AnswerSettings | null} */
  #answers = null;

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
    const { theme, language, model } = this.#form.elements;
    for (const select of [theme, language]) select.addEventListener("input", () => this.#read());
    model.addEventListener("input", () => callbacks.setModel(model.value));
    byId("reset").addEventListener("click", () => this.#answers?.use({}));
    byId("as-default").addEventListener("click", () => {
      this.#preferences.sampling = structuredClone(callbacks.sampling());
      callbacks.changed(this.#preferences);
      // Until the dialog is opened again.
      byId("as-default").textContent = t("savedAsDefault");
    });
    this.#dialog.addEventListener("close", () => {
      const invalid = this.#answers?.invalid ?? [];
      if (invalid.length > 0) toast(byId("toasts"), t("notApplied", { fields: invalid.join(", ") }));
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

  async open() {
    const answers = this.#answers ?? (await this.#loadAnswers());
    if (answers === null || this.#dialog.open) return;
    this.#fill();
    const isInChat = this.#callbacks.isInChat();
    byId("for-answers").textContent = t(isInChat ? "forThisChat" : "forNewChats");
    byId("as-default").hidden = !isInChat;
    byId("as-default").textContent = t("asDefault");
    answers.show();
    this.#dialog.showModal();
  }

  async #loadAnswers() {
    try {
      const { AnswerSettings } = await import("./settings/answer-settings.js");
      this.#answers ??= new AnswerSettings(this.#preferences, this.#callbacks);
    } catch (error) {
      console.warn("The settings cannot be loaded:", error);
      toast(byId("toasts"), t("notLoaded"));
    }
    return this.#answers;
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
    const { theme, language } = this.#preferences;
    elements.theme.value = theme;
    elements.language.value = language;
  }

  #read() {
    const { elements } = this.#form;
    this.#preferences.theme = elements.theme.value;
    this.#preferences.language = elements.language.value;
    this.#callbacks.changed(this.#preferences);
  }
}
