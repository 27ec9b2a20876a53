// Keeps a channel connected: opens one link after another, with a delay that grows after failures, and falls back to
// HTTP while WebSockets are blocked.

import { Link } from "./connection.js";
import { ChannelError } from "./errors.js";
import { HttpLink } from "./http-link.js";
import { SocketTrial } from "./trial.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").StateDetail} StateDetail */
/** @typedef {import("./connection.js").Ending} Ending */
/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./connection.js").Limits} Limits */

/**
 * @typedef {object} Hooks
 * @property {(state: State, detail: StateDetail) => void} entered What the channel's user is told; it may throw.
 * @property {(link: Link | HttpLink, limits: Limits) => void} ready
 * @property {(frame: Frame) => void} frame
 * @property {(ending: Ending) => void} lost The link has ended, and another one will be opened.
 * @property {(error: ChannelError) => void} closed There will be no other link.
 * @property {() => boolean} canMove Whether the link can be replaced without losing a generation.
 */

const FIRST_DELAY_MS = 500;
const SLOW_DELAY_MS = 5000;
const MAX_DELAY_MS = 30_000;
const HANDSHAKES_BEFORE_FALLBACK = 2;

export class Connector {
  #target;
  #hasFallback;
  #hooks;
  /** @type {State} */
  #state = "idle";
  /** Failed handshakes in a row. */
  #failedHandshakes = 0;
  /** @type {Link | HttpLink | undefined} */
  #link;
  /** @type {Limits} */
  #limits = {};
  #wasReady = false;
  #askWhy = false;
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ChannelError | undefined} */
  #closedBy;
  /** @type {{ resolve: () => void, reject: (error: ChannelError) => void }[]} */
  #waiting = [];
  #unlisten = new AbortController();
  /** @type {import("./connection.js").Callbacks} */
  #callbacks = {
    ready: (limits) => this.#ready(limits),
    frame: (frame) => this.#hooks.frame(frame),
    ended: (ending) => this.#ended(ending),
  };
  #trial;

  /**
   * @param {import("./connection.js").Target} target
   * @param {boolean} hasFallback
   * @param {Hooks} hooks
   */
  constructor(target, hasFallback, hooks) {
    this.#target = target;
    this.#hasFallback = hasFallback;
    this.#hooks = hooks;
    this.#trial = new SocketTrial(target, this.#callbacks, (link, limits) => this.#move(link, limits));
  }

  get state() { return this.#state; }

  get limits() { return this.#limits; }

  /** @returns {"websocket" | "http"} */
  get wire() { return this.#link instanceof HttpLink ? "http" : "websocket"; }

  /** The socket, while it is ready. */
  get socket() { return this.#link instanceof Link && this.#link.isReady ? this.#link : undefined; }

  /** Why it was closed for good; undefined before. */
  get closedBy() { return this.#closedBy; }

  /** Resolves once it is ready; rejects once it is closed. @returns {Promise<void>} */
  connect() {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== undefined) return reject(this.#closedBy);
      if (this.#link?.isReady) return resolve();
      this.#waiting.push({ resolve, reject });
      this.start();
    });
  }

  /** Connect, if that has not begun. */
  start() {
    if (this.#state !== "idle") return;
    const { signal } = this.#unlisten;
    // These events come sooner than a timer after a sleep or a dead spot.
    globalThis.addEventListener?.("online", () => this.#hurry(), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#hurry();
    }, { signal });
    this.enter("connecting", {});
    this.#open();
  }

  cut() { if (this.#link?.isReady) this.#link.cut(); }

  close() {
    if (this.#closedBy !== undefined) return;
    this.#link?.close();
    this.#shut(new ChannelError("channel_closed", "The channel was closed."));
  }

  /**
   * @param {State} state
   * @param {StateDetail} detail
   */
  enter(state, detail) {
    this.#state = state;
    try {
      this.#hooks.entered(state, detail);
    } catch (error) {
      // The caller's error: report it as uncaught, without harm to the generations.
      queueMicrotask(() => { throw error; });
    }
  }

  #open() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    if (this.#closedBy !== undefined) return;
    const isBlocked = this.#hasFallback && this.#failedHandshakes >= HANDSHAKES_BEFORE_FALLBACK;
    this.#link = new (isBlocked ? HttpLink : Link)(this.#target, this.#callbacks);
    // A browser does not say why a handshake was refused; the response to a request for a ticket does.
    void this.#link.open(this.#target.apiKey !== undefined || this.#askWhy);
  }

  #hurry() {
    if (this.#retryTimer !== undefined) this.#open();
    else this.#link?.probe();
    this.#trial.hurry();
  }

  /** @param {Limits} limits */
  #ready(limits) {
    this.#limits = limits;
    this.#wasReady = true;
    this.#askWhy = false;
    if (this.wire === "http") this.#trial.start();
    else this.#failedHandshakes = 0;
    this.enter("ready", {});
    for (const { resolve } of this.#waiting.splice(0)) resolve();
    // onState may have closed it.
    if (this.#link !== undefined) this.#hooks.ready(this.#link, limits);
  }

  /**
   * Move from HTTP to a socket that works, if no generation would be lost.
   * @param {Link} link
   * @param {Limits} limits
   */
  #move(link, limits) {
    if (!this.#hooks.canMove()) return false;
    this.#link?.close();
    this.#hooks.lost({ retry: "soon", reason: "WebSockets work again" });
    this.#link = link;
    this.#ready(limits);
    return true;
  }

  /** @param {Ending} ending */
  #ended(ending) {
    const link = /** @type {Link | HttpLink} */ (this.#link);
    this.#link = undefined;
    this.#trial.stop();
    this.#askWhy = !link.wasReady;
    if (link.wasReady) this.#failedHandshakes = link instanceof HttpLink ? this.#failedHandshakes : 0;
    else this.#failedHandshakes = link instanceof Link && link.isBlocked ? this.#failedHandshakes + 1 : 0;
    const error = ending.error ?? new ChannelError("connection_lost", ending.reason);
    if (ending.retry === "never") return this.#shut(error, ending.code);
    this.#hooks.lost(ending);

    if (link.isSteady) this.#attempt = 0;
    const ceiling = (ending.retry === "slow" ? SLOW_DELAY_MS : FIRST_DELAY_MS) * 2 ** this.#attempt;
    // With jitter, so that not all clients return to a restarted server at once.
    const delay = Math.min(ceiling, MAX_DELAY_MS) * (0.5 + Math.random() / 2);
    const retryInMs = Math.round((ending.retryAfterMs ?? 0) + delay);
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => this.#open(), retryInMs);
    const { reason, code } = ending;
    const detail = { reason, code, error, attempt: this.#attempt, retryInMs };
    this.enter(this.#wasReady ? "reconnecting" : "connecting", detail);
  }

  /**
   * @param {ChannelError} error
   * @param {number} [code]
   */
  #shut(error, code) {
    this.#closedBy = error;
    this.#link = undefined;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#unlisten.abort();
    this.#trial.stop();
    this.#hooks.closed(error);
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.enter("closed", { reason: error.message, code, error });
  }
}
