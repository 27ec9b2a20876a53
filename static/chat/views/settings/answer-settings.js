// The part of the settings about answers: the presets, and the form for one chat or for new ones.

import { byId } from "../../../dom.js";
import { PresetsView } from "./presets-view.js";
import { SamplingForm } from "../sampling-form.js";

/** @typedef {import("../../types.js").Sampling} Sampling */

export class AnswerSettings {
  #callbacks;
  #form;
  #presets;

  /**
   * @param {import("../../state/preferences.js").Preferences} preferences
   * @param {import("../settings-view.js").Callbacks} callbacks
   */
  constructor(preferences, callbacks) {
    this.#callbacks = callbacks;
    this.#form = new SamplingForm(byId("sampling"), (sampling) => {
      callbacks.setSampling(sampling);
      this.#presets.show(sampling);
    });
    this.#presets = new PresetsView(byId("presets"), preferences, {
      changed: () => callbacks.changed(preferences),
      sampling: callbacks.sampling,
      use: (sampling) => this.use(sampling),
    });
  }

  /** The labels of the fields that are not valid, and not in use. */
  get invalid() { return this.#form.invalid; }

  /** Show the settings in use. */
  show() {
    const sampling = this.#callbacks.sampling();
    this.#form.fill(sampling);
    this.#presets.show(sampling);
  }

  /** Use these from now on. @param {Sampling} sampling */
  use(sampling) {
    this.#callbacks.setSampling(sampling);
    this.show();
  }
}
