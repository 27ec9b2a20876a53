// The reference client of the WebSocket channel, for browsers and Node: many generations on one socket, which survive
// it. Does not know what is done with the chunks. The specification is docs/websocket.md.
//
//   const channel = new Channel({ baseUrl: "http://127.0.0.1:8000" });
//   const answer = channel.create({ model, messages }, { resumeGrace: 60 });
//   for await (const chunk of answer) show(answer.text);
//   channel.close();
//
// Back pressure: a browser's WebSocket cannot be told to wait, so chunks are taken from it as they come, and wait in
// their Generation until its reader takes them (`waitingChunks`). A reader that is slow in drawing should draw once per
// frame what `text` has become, not once per chunk. What is sent is small, except for the bodies of creates.

import { Link } from "./channel/connection.js";
import { ChannelError, Generation, Run } from "./channel/generation.js";
import { Streams } from "./channel/streams.js";

export { ChannelError, Generation };

/** @typedef {"idle" | "connecting" | "ready" | "reconnecting" | "resumed" | "closed"} State */

/**
 * @typedef {object} StateDetail What is known of a state, where it is known.
 * @property {string} [reason] Why the connection was lost, could not be had, or is closed.
 * @property {number} [code] The close code of the socket that was lost.
 * @property {ChannelError} [error]
 * @property {number} [attempt] Attempts that have failed in a row.
 * @property {number} [retryInMs] When the next one begins.
 * @property {number} [resumed] Generations that go on.
 * @property {number} [lost] Generations that could not be resumed; their iterators throw.
 */

/**
 * @typedef {object} ChannelOptions
 * @property {string} [baseUrl] The server's address, with or without `/v1`. A page need not say its own server's.
 * @property {string} [apiKey] Exchanged for a ticket per connection; never in a URL.
 * @property {typeof WebSocket} [WebSocket] Another than the global one.
 * @property {typeof fetch} [fetch] Another than the global one.
 * @property {(state: State, detail: StateDetail) => void} [onState] Told of each state: `connecting` and
 *   `reconnecting` again for each attempt that failed, `resumed` once all that was resumable has been asked for.
 * @property {(problem: ChannelError) => void} [onProblem] Told what is wrong and belongs to no generation, or was
 *   mended: a gap, a repeated chunk. Without it, such things are written to the console.
 */

/** @typedef {import("./channel/connection.js").Ending} Ending */
/** @typedef {import("./channel/connection.js").Limits} Limits */

const FIRST_DELAY_MS = 500;
const SLOW_DELAY_MS = 5000;
const MAX_DELAY_MS = 30_000;

export class Channel {
  #target;
  #onState;
  #onProblem;
  /** @type {State} */
  #state = "idle";
  /** @type {Link | undefined} */
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
  #streams = new Streams({
    problem: (problem) => this.#onProblem(problem),
    resumed: (counts) => this.#enter("resumed", counts),
  });
  /** @type {{ resolve: () => void, reject: (error: ChannelError) => void }[]} */
  #waiting = [];
  #unlisten = new AbortController();

  /** @param {ChannelOptions} [options] Nothing is opened before it is needed, or `connect` called. */
  constructor(options = {}) {
    const page = typeof location === "undefined" ? undefined : location.origin;
    const { baseUrl = page, apiKey, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = options;
    if (!baseUrl) throw new TypeError("baseUrl must be given outside a page.");
    if (!WebSocket) throw new TypeError("There is no global WebSocket here: give one, or use Node 22 or newer.");
    this.#target = { baseUrl: baseUrl.replace(/\/+$/, "").replace(/\/v1$/, ""), apiKey, WebSocket, fetch };
    this.#onState = options.onState ?? (() => {});
    this.#onProblem = options.onProblem ?? ((/** @type {ChannelError} */ problem) => console.warn(problem));
  }

  get state() { return this.#state; }

  /** What the server said of this connection, from `ready` on. */
  get limits() { return this.#limits; }

  /**
   * Connect, if that has not been done. Resolves once the server is ready for generations, however long that takes;
   * rejects where it never will be: a wrong key, or `close`.
   * @returns {Promise<void>}
   */
  connect() {
    return new Promise((resolve, reject) => {
      if (this.#closedBy !== undefined) return reject(this.#closedBy);
      if (this.#link?.isReady) return resolve();
      this.#waiting.push({ resolve, reject });
      this.#start();
    });
  }

  /**
   * Start a generation. While there is no connection, it waits for one; what the server refuses, 429 among it, is
   * thrown by the iterator. One that the server has not answered when the socket is lost is sent again, twice at most.
   * @param {object} body The body of `POST /v1/chat/completions`; `stream` is implied.
   * @param {object} [options]
   * @param {number} [options.resumeGrace] Seconds that it may run on at the server without a connection. Without it, it
   *   is cancelled when the socket is lost, and the iterator throws `connection_lost`.
   * @param {AbortSignal} [options.signal] Its abort cancels.
   * @returns {Generation}
   */
  create(body, { resumeGrace, signal } = {}) {
    const run = new Run();
    // As it is now: what the caller does to it while it waits changes nothing. Throws where it cannot be sent.
    run.body = JSON.stringify(body);
    run.graceS = resumeGrace;
    return this.#add(run, signal);
  }

  /**
   * Read on in a generation, after a reload say. Another reader of it, if there is one, loses it.
   * @param {object} from What a Generation said of itself: its `id`, `resumeToken`, and `seq`.
   * @param {string} from.id
   * @param {string} from.resumeToken
   * @param {number} [from.startingAfter] The last chunk that is already there.
   * @param {string} [from.text] The text up to that chunk, for `Generation.text` to go on from.
   * @param {AbortSignal} [from.signal] Its abort cancels.
   * @returns {Generation}
   */
  resume({ id, resumeToken, startingAfter = 0, text = "", signal }) {
    const run = new Run();
    run.phase = "detached";
    run.id = id;
    run.token = resumeToken;
    run.receivedSeq = run.takenSeq = startingAfter;
    run.text = text;
    return this.#add(run, signal);
  }

  /**
   * Close for good. What is resumable runs on at the server for its grace, and can be resumed by another channel; the
   * rest is cancelled there. All iterators throw `channel_closed`.
   */
  close() {
    if (this.#closedBy !== undefined) return;
    this.#link?.close();
    this.#shut(new ChannelError("channel_closed", "The channel was closed."));
  }

  // -- connecting ----------------------------------------------------------------------------------------------------

  #start() {
    if (this.#state !== "idle") return;
    const { signal } = this.#unlisten;
    // A page learns of the end of a sleep or a dead spot sooner than a timer does.
    globalThis.addEventListener?.("online", () => this.#hurry(), { signal });
    globalThis.document?.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#hurry();
    }, { signal });
    this.#enter("connecting", {});
    this.#open();
  }

  #open() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    if (this.#closedBy !== undefined) return;
    this.#link = new Link(this.#target, {
      ready: (limits) => this.#ready(limits),
      frame: (frame) => this.#streams.dispatch(frame),
      ended: (ending) => this.#ended(ending),
    });
    // A handshake's refusal has no words in a browser, a ticket's has.
    void this.#link.open(this.#target.apiKey !== undefined || this.#askWhy);
  }

  #hurry() {
    if (this.#retryTimer !== undefined) this.#open();
    else this.#link?.probe();
  }

  /** @param {Limits} limits */
  #ready(limits) {
    this.#limits = limits;
    this.#wasReady = true;
    this.#askWhy = false;
    this.#enter("ready", {});
    for (const { resolve } of this.#waiting.splice(0)) resolve();
    // Unless onState has closed it.
    if (this.#link !== undefined) this.#streams.begin(this.#link, limits);
  }

  /** @param {Ending} ending */
  #ended(ending) {
    const link = /** @type {Link} */ (this.#link);
    this.#link = undefined;
    this.#askWhy = !link.wasReady;
    const error = ending.error ?? new ChannelError("connection_lost", ending.reason);
    if (ending.retry === "never") return this.#shut(error, ending.code);
    this.#streams.unplug(ending);

    if (link.isSteady) this.#attempt = 0;
    const ceiling = (ending.retry === "slow" ? SLOW_DELAY_MS : FIRST_DELAY_MS) * 2 ** this.#attempt;
    // Jittered, so that a server that comes back is not met by all its clients at once.
    const delay = Math.min(ceiling, MAX_DELAY_MS) * (0.5 + Math.random() / 2);
    const retryInMs = Math.round((ending.retryAfterMs ?? 0) + delay);
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => this.#open(), retryInMs);
    const { reason, code } = ending;
    const detail = { reason, code, error, attempt: this.#attempt, retryInMs };
    this.#enter(this.#wasReady ? "reconnecting" : "connecting", detail);
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
    this.#streams.end(error);
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#enter("closed", { reason: error.message, code, error });
  }

  /**
   * @param {Run} run
   * @param {AbortSignal | undefined} signal
   */
  #add(run, signal) {
    const cause = this.#closedBy;
    if (cause) throw new ChannelError("channel_closed", `The channel is closed: ${cause.message}`, { cause });
    this.#streams.add(run, signal);
    this.#start();
    return run.generation;
  }

  /**
   * @param {State} state
   * @param {StateDetail} detail
   */
  #enter(state, detail) {
    this.#state = state;
    try {
      this.#onState(state, detail);
    } catch (error) {
      // The caller's own: told where uncaught errors are told, without harm to the generations.
      queueMicrotask(() => { throw error; });
    }
  }
}
