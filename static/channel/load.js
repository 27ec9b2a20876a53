// The server's load, which it reports on a channel while somebody watches.

/** @typedef {import("./connection.js").Frame} Frame */

/**
 * @typedef {object} WaitingStream A stream of this channel that waits.
 * @property {string} stream_id
 * @property {string} [id] Its generation's, once that has been created.
 * @property {"engine" | "connection"} waits_for
 * @property {number} ahead How many are before it.
 */

/**
 * @typedef {object} ServerLoad A report; the figures are absent where the server shows only this channel's own.
 * @property {number} [running]
 * @property {number} [waiting]
 * @property {number} [tokens_per_s]
 * @property {number} [kv_cache_usage] From 0 to 1.
 * @property {WaitingStream[]} streams
 */

/** @typedef {(load: ServerLoad | null) => void} Listener Called with each report; with null if the server shows none. */

const EVENT_ID = "server-stats";

export class Load {
  /** @type {{ send: (frame: string) => void } | undefined} */
  #link;
  /** @type {Set<Listener>} */
  #listeners = new Set();

  /**
   * @param {Listener} listener
   * @returns {() => void} Ends it.
   */
  watch(listener) {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#say("subscribe");
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#say("unsubscribe");
    };
  }

  /**
   * Use a new connection.
   * @param {{ send: (frame: string) => void } | undefined} link
   */
  plug(link) {
    this.#link = link;
    if (this.#listeners.size > 0) this.#say("subscribe");
  }

  /** @param {Frame} frame One of no stream. @returns {boolean} Whether it was about the load. */
  dispatch(frame) {
    const isReport = frame.type === "server.stats";
    if (!isReport && frame.event_id !== EVENT_ID) return false;
    const load = isReport ? /** @type {ServerLoad} */ (/** @type {unknown} */ (frame)) : null;
    for (const listener of this.#listeners) listener(load);
    return true;
  }

  /** @param {string} verb */
  #say(verb) {
    this.#link?.send(JSON.stringify({ type: `server.stats.${verb}`, event_id: EVENT_ID }));
  }
}
