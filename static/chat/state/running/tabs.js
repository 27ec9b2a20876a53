// Other tabs that show the same chats: messages to and from them, and the lock that lets one of them read an answer.

/**
 * @typedef {object} TabMessage
 * @property {string} [changed] A conversation was changed.
 * @property {string} [removed] A conversation was deleted.
 * @property {string} [stop] Stop the answer with this id.
 */

export class Tabs {
  #channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("twowire-chat");

  /** @param {(message: TabMessage) => void} receive */
  constructor(receive) {
    this.#channel?.addEventListener("message", ({ data }) => receive(data));
  }

  /** @param {TabMessage} message */
  post(message) {
    this.#channel?.postMessage(message);
  }
}

/** @param {string} id */
const lockOf = (id) => `twowire-answer-${id}`;

/**
 * Whether a tab receives this answer now. Without locks, nobody knows.
 * @param {string} id
 */
export async function isTaken(id) {
  const state = await navigator.locks?.query();
  return (state?.held ?? []).some(({ name }) => name === lockOf(id));
}

/**
 * Run `action` in one tab at a time for this answer. Pages that came over plain HTTP from another machine have no locks:
 * there it runs at once, and the server gives the generation to the latest reader.
 * @param {string} id
 * @param {() => Promise<void>} action
 */
export async function exclusively(id, action) {
  if (navigator.locks === undefined) return action();
  return navigator.locks.request(lockOf(id), action);
}
