// Asks: adds questions, results of calls and new answers to a conversation.

import { newAnswer, newQuestion, newResults, titleOf } from "./messages.js";

/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").Picture} Picture */
/** @typedef {{ model: string, sampling: import("../types.js").Sampling }} Asked How an answer is asked for. */

/**
 * @typedef {object} Callbacks
 * @property {(id: string) => Conversation | undefined} conversation
 * @property {(id: string | null) => Conversation} create
 * @property {(id: string) => Promise<Map<string, Message>>} load The messages of a conversation.
 * @property {() => Asked} defaults The model of the shown chat, and the sampling of new ones.
 * @property {(conversation: Conversation, messages: Message[]) => Promise<void>} added Saves them.
 * @property {(message: Message) => void} start Runs an answer.
 */

export class Questions {
  #callbacks;

  /** @param {Callbacks} callbacks */
  constructor(callbacks) {
    this.#callbacks = callbacks;
  }

  /**
   * @param {string | null} id
   * @param {string} text
   * @param {Picture[]} [pictures]
   */
  async ask(id, text, pictures) {
    const known = id === null ? undefined : this.#callbacks.conversation(id);
    const conversation = known ?? this.#callbacks.create(id);
    await this.#callbacks.load(conversation.id);
    await this.#askAt(conversation, conversation.leaf, text, pictures);
    return conversation.id;
  }

  /**
   * @param {Message} message
   * @param {string} text
   */
  async edit(message, text) {
    const conversation = this.#callbacks.conversation(message.conversation);
    if (conversation !== undefined) await this.#askAt(conversation, message.parent, text, message.pictures);
  }

  /** @param {Message} message */
  async regenerate(message) {
    const conversation = this.#callbacks.conversation(message.conversation);
    if (conversation !== undefined) await this.#answer(conversation, message.parent, []);
  }

  /**
   * @param {Message} message
   * @param {string[]} results One for each call.
   */
  async answerCalls(message, results) {
    const conversation = this.#callbacks.conversation(message.conversation);
    const made = newResults(message, results);
    if (conversation !== undefined) await this.#answer(conversation, made.at(-1)?.id ?? null, made);
  }

  /** @param {Message} message */
  continueAnswer(message) {
    const { answer } = message;
    if (answer === undefined || answer.state === "open") return;
    answer.state = "open";
    answer.error = null;
    answer.limitBase = answer.pieces;
    answer.wasInterrupted = true;
    this.#callbacks.start(message);
  }

  /**
   * @param {Conversation} conversation
   * @param {string | null} parent
   * @param {string} text
   * @param {Picture[]} [pictures]
   */
  async #askAt(conversation, parent, text, pictures) {
    const question = newQuestion(conversation.id, parent, text, pictures);
    if (!conversation.isNamed && parent === null) conversation.title = titleOf(text.trim() || (pictures?.[0]?.name ?? ""));
    await this.#answer(conversation, question.id, [question]);
  }

  /**
   * @param {Conversation} conversation
   * @param {string | null} parent
   * @param {Message[]} before
   */
  async #answer(conversation, parent, before) {
    const { model, sampling } = this.#callbacks.defaults();
    const own = structuredClone(conversation.sampling ?? sampling);
    const message = newAnswer(conversation.id, parent, { model, sampling: own });
    const messages = await this.#callbacks.load(conversation.id);
    for (const one of [...before, message]) messages.set(one.id, one);
    conversation.leaf = message.id;
    conversation.updated = message.created;
    // Saved before it is sent, so that no question is lost.
    await this.#callbacks.added(conversation, [...before, message]);
    this.#callbacks.start(message);
  }
}
