// The tree of a conversation's messages, and the branch that is shown.

/** @typedef {import("../types.js").Message} Message */
/** @typedef {Map<string, Message>} Messages */

let lastTime = 0;

/** The time, later than at any call before, so that versions have an order. */
export function now() {
  lastTime = Math.max(Date.now(), lastTime + 1);
  return lastTime;
}

/** A random id. `crypto.randomUUID` is missing on pages that came over plain HTTP from another machine. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The messages from the first to `leaf`.
 * @param {Messages} messages
 * @param {string | null} leaf
 */
export function pathTo(messages, leaf) {
  const path = [];
  const seen = new Set();
  for (let at = leaf; at !== null && !seen.has(at);) {
    const message = messages.get(at);
    if (message === undefined) break;
    seen.add(at);
    path.push(message);
    at = message.parent;
  }
  return path.reverse();
}

/**
 * All versions of `message`, itself included, oldest first.
 * @param {Messages} messages
 * @param {Message} message
 */
export function siblings(messages, message) {
  const found = [...messages.values()].filter(({ parent, role }) => parent === message.parent && role === message.role);
  return found.sort((a, b) => a.created - b.created);
}

/**
 * The end of the newest branch below `id`.
 * @param {Messages} messages
 * @param {string} id
 */
export function newestLeaf(messages, id) {
  /** @type {Map<string | null, Message>} */
  const newest = new Map();
  for (const message of messages.values()) {
    const known = newest.get(message.parent);
    if (known === undefined || known.created < message.created) newest.set(message.parent, message);
  }
  let leaf = id;
  // At most as many steps as messages: an imported file may contain a cycle.
  for (let steps = messages.size; steps > 0; steps -= 1) leaf = newest.get(leaf)?.id ?? leaf;
  return leaf;
}
