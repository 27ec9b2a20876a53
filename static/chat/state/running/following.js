// Follows the answers that other tabs receive, so that every tab shows them as they grow. Nothing is saved here: the tab
// that receives an answer does that.

import { Growth } from "./request.js";
import { isTaken } from "./tabs.js";

/** @typedef {import("../connection.js").Connection} Connection */
/** @typedef {import("../../types.js").Message} Message */

export class Following {
  #connection;
  #changed;
  /** @type {Map<string, { message: Message, stop: AbortController }>} */
  #followed = new Map();

  /**
   * @param {Connection} connection
   * @param {(message: Message) => void} changed Its text changed, or it is followed no longer.
   */
  constructor(connection, changed) {
    this.#connection = connection;
    this.#changed = changed;
  }

  /** @param {string} id */
  has(id) { return this.#followed.has(id); }

  get messages() { return [...this.#followed.values()].map(({ message }) => message); }

  /**
   * Follow an open answer that another tab receives; resolves to whether there is such a tab.
   * @param {Message} message As it is stored: its text reaches to its position in the stream.
   */
  async start(message) {
    const cursor = message.answer?.cursor;
    if (!cursor?.follow || this.#followed.get(message.id)?.message === message) return false;
    this.stop(message.id);
    const stop = new AbortController();
    this.#followed.set(message.id, { message, stop });
    const isElsewhere = await isTaken(message.id);
    // Meanwhile it may have been stopped, or started anew.
    if (stop.signal.aborted) return false;
    if (isElsewhere) void this.#read(message, cursor, stop);
    else this.#end(message, stop);
    return isElsewhere;
  }

  /** @param {string} id */
  stop(id) {
    this.#followed.get(id)?.stop.abort();
    this.#followed.delete(id);
  }

  /**
   * @param {Message} message
   * @param {import("../../types.js").Cursor} cursor
   * @param {AbortController} stop
   */
  async #read(message, { id, follow = "", seq }, stop) {
    const answer = /** @type {import("../../types.js").Answer} */ (message.answer);
    const growth = new Growth(message, answer);
    const { channel } = this.#connection;
    const { signal } = stop;
    try {
      for await (const chunk of channel.follow({ id, followToken: follow, startingAfter: seq, signal })) {
        const choice = chunk.choices[0];
        if (signal.aborted) return;
        if (choice !== undefined && growth.add(choice.delta, Date.now())) this.#changed(message);
      }
    } catch {
      // What has come stays. The other tab recovers the answer, and says when it has ended.
    } finally {
      this.#end(message, stop);
    }
  }

  /**
   * @param {Message} message
   * @param {AbortController} stop
   */
  #end(message, stop) {
    if (this.#followed.get(message.id)?.stop !== stop) return;
    this.#followed.delete(message.id);
    this.#changed(message);
  }
}
