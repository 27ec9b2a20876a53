// Tries from time to time, while a channel is over HTTP, whether WebSockets work now.

import { Link } from "./connection.js";

/** @typedef {import("./connection.js").Callbacks} Callbacks */
/** @typedef {import("./connection.js").Limits} Limits */
/** @typedef {import("./connection.js").Target} Target */

const FIRST_DELAY_MS = 15_000;
const MAX_DELAY_MS = 600_000;

export class SocketTrial {
  #target;
  #callbacks;
  #adopt;
  #delayMs = FIRST_DELAY_MS;
  /** @type {Link | undefined} */
  #link;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {Target} target
   * @param {Callbacks} callbacks Of the socket, once it is adopted.
   * @param {(link: Link, limits: Limits) => boolean} adopt Takes an open socket over; false if that is not possible now.
   */
  constructor(target, callbacks, adopt) {
    this.#target = target;
    this.#callbacks = callbacks;
    this.#adopt = adopt;
  }

  /** Try again later, each time after a longer while. */
  start() {
    this.stop();
    this.#timer = setTimeout(() => this.hurry(), this.#delayMs);
    this.#delayMs = Math.min(this.#delayMs * 2, MAX_DELAY_MS);
  }

  /** Try now; does nothing unless a trial is due later. */
  hurry() {
    if (this.#timer === undefined) return;
    this.stop();
    let isAdopted = false;
    const link = new Link(this.#target, {
      ready: (limits) => {
        this.#link = undefined;
        isAdopted = this.#adopt(link, limits);
        if (isAdopted) return;
        link.close();
        this.start();
      },
      frame: (frame) => this.#callbacks.frame(frame),
      ended: (ending) => {
        if (isAdopted) this.#callbacks.ended(ending);
        else this.start();
      },
    });
    this.#link = link;
    void link.open(this.#target.apiKey !== undefined);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#link?.close();
    this.#link = undefined;
  }
}
