// The model and the settings of the next answers: the shown chat's own, or those of new chats.

import { writePreferences } from "./preferences.js";

/** @typedef {import("../types.js").Sampling} Sampling */

export class AnswerChoice {
  #library;
  #connection;
  #preferences;
  #shown;

  /**
   * @param {import("./conversations.js").Library} library
   * @param {import("./connection.js").Connection} connection
   * @param {import("./preferences.js").Preferences} preferences
   * @param {() => string | null} shown The shown chat; null for a new one.
   */
  constructor(library, connection, preferences, shown) {
    this.#library = library;
    this.#connection = connection;
    this.#preferences = preferences;
    this.#shown = shown;
  }

  get #chat() { return this.#library.conversation(this.#shown() ?? ""); }

  /** @returns {Sampling} */
  get sampling() { return this.#chat?.sampling ?? this.#preferences.sampling; }

  set sampling(sampling) { this.#set({ sampling }); }

  /** One that is served, if any is. */
  get model() {
    const { models } = this.#connection;
    const wanted = [this.#chat?.model ?? "", this.#preferences.model];
    return wanted.find((one) => models.includes(one)) ?? models[0] ?? this.#preferences.model;
  }

  set model(model) { this.#set({ model }); }

  get canThink() { return this.#connection.thinkers.has(this.model); }

  get canSee() { return this.#connection.seers.has(this.model); }

  /** @param {{ model?: string, sampling?: Sampling }} wanted */
  #set(wanted) {
    const shown = this.#shown();
    if (shown !== null) return void this.#library.change(shown, wanted);
    Object.assign(this.#preferences, wanted);
    writePreferences(this.#preferences);
  }
}
