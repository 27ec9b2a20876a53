// The messages of the conversations that were opened, in memory.

/** @typedef {import("../types.js").Message} Message */

export class LoadedMessages {
  #store;
  #running;
  /** @type {Map<string, Map<string, Message>>} */
  #loaded = new Map();
  /** How often something changed that a read in progress may have missed. */
  #forgotten = 0;

  /**
   * @param {import("./store.js").Store} store
   * @param {() => Message[]} running The running answers.
   */
  constructor(store, running) {
    this.#store = store;
    this.#running = running;
  }

  /**
   * The messages of a conversation by id; undefined before `load`.
   * @param {string} conversation
   */
  get(conversation) { return this.#loaded.get(conversation); }

  /** @param {string} conversation A new one. */
  create(conversation) { this.#loaded.set(conversation, new Map()); }

  /** A message of a conversation was changed, and saved unless its answer runs. @param {Message} message */
  set(message) {
    const messages = this.#loaded.get(message.conversation);
    if (messages === undefined) this.#forgotten += 1;
    else messages.set(message.id, message);
  }

  /** @param {string} conversation */
  forget(conversation) {
    this.#forgotten += 1;
    this.#loaded.delete(conversation);
  }

  /**
   * @param {string} conversation
   * @returns {Promise<Map<string, Message>>}
   */
  async load(conversation) {
    const known = this.#loaded.get(conversation);
    if (known !== undefined) return known;
    const forgotten = this.#forgotten;
    const stored = await this.#store.messages(conversation);
    // It was changed while it was read.
    if (forgotten !== this.#forgotten) return this.load(conversation);
    const messages = new Map(stored.map((message) => [message.id, message]));
    // Running answers are ahead of what is stored.
    for (const message of this.#running()) {
      if (message.conversation === conversation) messages.set(message.id, message);
    }
    const meanwhile = this.#loaded.get(conversation);
    if (meanwhile !== undefined) return meanwhile;
    this.#loaded.set(conversation, messages);
    return messages;
  }
}
