// Makes conversations and messages, and finds them by their words.

import { newId, now } from "./branches.js";

/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").Sampling} Sampling */

export const MAX_TITLE = 80;

/**
 * @param {string} id
 * @param {Sampling} sampling
 * @returns {Conversation}
 */
export function newConversation(id, sampling) {
  const at = now();
  return { id, title: "", isNamed: false, created: at, updated: at, leaf: null, sampling };
}

/**
 * @param {string} conversation
 * @param {string | null} parent
 * @param {string} text
 * @param {import("../types.js").Picture[]} [pictures]
 * @returns {Message}
 */
export function newQuestion(conversation, parent, text, pictures = []) {
  return { id: newId(), conversation, parent, role: "user", text, created: now(), ...(pictures.length > 0 ? { pictures } : {}) };
}

/**
 * The results of a message's calls, each below the one before it.
 * @param {Message} message An answer with calls.
 * @param {string[]} results One for each call.
 */
export function newResults({ id, conversation, answer }, results) {
  let parent = id;
  return (answer?.calls ?? []).map((call, index) => {
    const name = (call.function ?? call.custom)?.name ?? "";
    /** @type {Message} */
    const result = { id: newId(), conversation, parent, role: "tool", text: results[index] ?? "", created: now(),
      call: { id: call.id, name } };
    parent = result.id;
    return result;
  });
}

/**
 * An answer without text yet.
 * @param {string} conversation
 * @param {string | null} parent
 * @param {{ model: string, sampling: Sampling }} options
 * @returns {Message}
 */
export function newAnswer(conversation, parent, { model, sampling }) {
  const created = now();
  return {
    id: newId(), conversation, parent, role: "assistant", text: "", created,
    answer: {
      state: "open", model, sampling, finish: null, error: null, cursor: null, pieces: 0, limitBase: 0, counted: 0,
      usage: null, sent: 0, first: 0, last: created, wasInterrupted: false, restarts: 0,
    },
  };
}

/**
 * The title of a conversation that begins with this question.
 * @param {string} question
 */
export function titleOf(question) {
  const line = question.trim().split("\n")[0];
  return line.length > MAX_TITLE ? `${line.slice(0, MAX_TITLE - 1)}…` : line;
}

/**
 * The conversations that have all of `words` in their title or messages.
 * @param {string} words
 * @param {Conversation[]} conversations
 * @param {Message[]} messages
 */
export function matching(words, conversations, messages) {
  const wanted = words.trim().toLocaleLowerCase().split(/\s+/);
  /** @type {Map<string, string>} */
  const texts = new Map(conversations.map(({ id, title }) => [id, title]));
  for (const { conversation, text } of messages) {
    if (texts.has(conversation)) texts.set(conversation, `${texts.get(conversation)}\n${text}`);
  }
  return conversations.filter(({ id }) => {
    const text = (texts.get(id) ?? "").toLocaleLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}
