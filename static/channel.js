// The reference client of the WebSocket channel, for browsers and Node: many generations on one socket, which
// survive a lost connection. The specification is docs/websocket.md.
//
//   const channel = new Channel({ baseUrl: "http://127.0.0.1:8000" });
//   const answer = channel.create({ model, messages }, { resumeGrace: 60 });
//   for await (const chunk of answer) show(answer.text);
//   channel.close();
//
// Back pressure: a browser's WebSocket cannot be paused, so chunks are read as they arrive and are queued in their
// Generation until its reader takes them (`waitingChunks`). A reader that is slow to draw should draw `text` once per
// animation frame, not once per chunk.

import { Link } from "./channel/connection.js";
import { oversize } from "./channel/frames.js";
import { ChannelError, Generation, Run } from "./channel/generation.js";
import { HttpLink } from "./channel/http-link.js";
import { Load } from "./channel/load.js";
import { Streams } from "./channel/streams.js";
import { SocketTrial } from "./channel/trial.js";

export { ChannelError, Generation };

/** @typedef {import("./channel/types.js").State} State */
/** @typedef {import("./channel/types.js").StateDetail} StateDetail */
/** @typedef {import("./channel/types.js").ChannelOptions} ChannelOptions */
/** @typedef {import("./channel/connection.js").Ending} Ending */
/** @typedef {import("./channel/connection.js").Limits} Limits */

const FIRST_DELAY_MS = 500;
const SLOW_DELAY_MS = 5000;
const MAX_DELAY_MS = 30_000;
const HANDSHAKES_BEFORE_FALLBACK = 2;

export class Channel {
  /** @type {import("./channel/connection.js").Target} */
  #target;
  #onState;
  #onProblem;
  /** @type {State} */
  #state = "idle";
  #hasFallback;
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
  #streams = new Streams({
    problem: (problem) => this.#onProblem(problem),
    resumed: (counts) => this.#enter("resumed", counts),
  });
  #load = new Load();
  #lastPrefill = 0;
  /** @type {(answer: any) => void} */
  #prefilled = () => {};
  /** @type {{ resolve: () => void, reject: (error: ChannelError) => void }[]} */
  #waiting = [];
  #unlisten = new AbortController();
  /** @type {import("./channel/connection.js").Callbacks} */
  #callbacks = {
    ready: (limits) => this.#ready(limits),
    frame: (frame) => {
      if (frame.stream_id === undefined && this.#isOfPrefill(frame)) return;
      if (frame.stream_id !== undefined || !this.#load.dispatch(frame)) this.#streams.dispatch(frame);
    },
    ended: (ending) => this.#ended(ending),
  };
  #trial;

  /** @param {ChannelOptions} [options] It connects with the first generation, or with `connect`. */
  constructor(options = {}) {
    const page = typeof location === "undefined" ? undefined : location.origin;
    const { baseUrl = page, apiKey, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = options;
    if (!baseUrl) throw new TypeError("Outside a page, baseUrl is required.");
    if (!WebSocket) throw new TypeError("There is no global WebSocket: pass one, or use Node 22 or newer.");
    this.#target = { baseUrl: baseUrl.replace(/\/+$/, "").replace(/\/v1$/, ""), apiKey, WebSocket, fetch };
    this.#hasFallback = options.fallback ?? false;
    this.#trial = new SocketTrial(this.#target, this.#callbacks, (link, limits) => this.#move(link, limits));
    this.#onState = options.onState ?? (() => {});
    this.#onProblem = options.onProblem ?? ((/** @type {ChannelError} */ problem) => console.warn(problem));
  }

  get state() { return this.#state; }

  /** What carries it: HTTP only with `fallback`, while WebSockets are blocked. @returns {"websocket" | "http"} */
  get wire() { return this.#link instanceof HttpLink ? "http" : "websocket"; }

  /** Called with each frame that goes over the socket, as it is; undefined for none. It must not throw. */
  set onFrame(/** @type {import("./channel/connection.js").Watcher | undefined} */ watcher) {
    this.#target.onFrame = watcher;
  }

  /** The server's limits for this connection, once it is ready. */
  get limits() { return this.#limits; }

  /**
   * Connect, if that has not been done. Resolves once the channel is ready, however long that takes; rejects after a
   * wrong key or `close`.
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
   * Start a generation. Without a connection, it waits for one. The iterator throws what the server refuses it with, 429
   * included. If the socket is lost before the server has answered, the request is sent again, at most twice.
   * @param {object} body The body of `POST /v1/chat/completions`; `stream` is implied.
   * @param {object} [options]
   * @param {number} [options.resumeGrace] Seconds that it may run without a connection. Without it, it is cancelled when
   *   the socket is lost, and the iterator throws `connection_lost`.
   * @param {AbortSignal} [options.signal] Cancels the generation.
   * @returns {Generation}
   */
  create(body, { resumeGrace, signal } = {}) {
    const run = new Run();
    // Encoded now, so that later changes to it have no effect, and so that a body that is not JSON throws here.
    run.body = JSON.stringify(body);
    run.graceS = resumeGrace;
    return this.#add(run, signal);
  }

  /**
   * Have the server read a request's prompt before it is sent, so that its answer begins sooner. Another call, and each
   * `create`, ends it. Does nothing where the server does not offer it, and over HTTP.
   * @param {object} body The body of a request that may come: its last message need not be complete.
   * @returns {Promise<{ status: string, usage: import("./channel/generation.js").Usage } | null>} Null if it was refused
   *   or lost.
   */
  prefill(body) {
    this.#prefilled(null);
    if (!this.#limits.max_prefills || !(this.#link instanceof Link) || !this.#link.isReady) return Promise.resolve(null);
    this.#lastPrefill += 1;
    const event_id = `prefill-${this.#lastPrefill}`;
    const frame = JSON.stringify({ type: "chat.completion.prefill", event_id, body });
    if (oversize(frame, this.#limits.max_message_bytes ?? Number.POSITIVE_INFINITY) > 0) return Promise.resolve(null);
    this.#link.send(frame);
    return new Promise((resolve) => { this.#prefilled = resolve; });
  }

  /** @param {import("./channel/connection.js").Frame} frame */
  #isOfPrefill(frame) {
    const id = String(frame.event_id ?? "");
    if (!id.startsWith("prefill-")) return false;
    if (id === `prefill-${this.#lastPrefill}`) this.#prefilled(frame.type === "error" ? null : /** @type {any} */ (frame));
    return true;
  }

  /**
   * Resume a generation, for example after a reload. If it has another reader, that one loses it.
   * @param {object} from The `id`, `resumeToken` and `seq` of a Generation.
   * @param {string} from.id
   * @param {string} from.resumeToken
   * @param {number} [from.startingAfter] The number of the last chunk received.
   * @param {string} [from.text] The text up to that chunk, so that `Generation.text` is complete.
   * @param {AbortSignal} [from.signal] Cancels the generation.
   * @returns {Generation}
   */
  resume({ id, resumeToken, startingAfter = 0, text = "", signal }) {
    return this.#attach(id, resumeToken, startingAfter, text, signal);
  }

  /**
   * Read a generation of somebody else's beside its reader. Cancelling it only ends that.
   * @param {object} from
   * @param {string} from.id
   * @param {string} from.followToken From the `followToken` of that generation.
   * @param {number} [from.startingAfter] The number of the last chunk received.
   * @param {string} [from.text] The text up to that chunk, so that `Generation.text` is complete.
   * @param {AbortSignal} [from.signal] Stops following.
   * @returns {Generation}
   */
  follow({ id, followToken, startingAfter = 0, text = "", signal }) {
    return this.#attach(id, followToken, startingAfter, text, signal, true);
  }

  /**
   * Watch the server's load, and the places of this channel's generations in its queue. Over HTTP, nothing is reported.
   * @param {import("./channel/load.js").Listener} listener Called about once a second.
   * @returns {() => void} Ends it.
   */
  watchLoad(listener) {
    return this.#load.watch(listener);
  }

  /**
   * @param {string} id
   * @param {string} token
   * @param {number} startingAfter
   * @param {string} text
   * @param {AbortSignal | undefined} signal
   */
  #attach(id, token, startingAfter, text, signal, isFollower = false) {
    const run = new Run();
    run.phase = "detached";
    Object.assign(run, { id, token, text, isFollower, receivedSeq: startingAfter, takenSeq: startingAfter });
    return this.#add(run, signal);
  }

  /** Lose the connection, as on a bad network, to see what happens: it is made again, and generations are resumed. */
  cut() { if (this.#link?.isReady) this.#link.cut(); }

  /**
   * Close for good. Resumable generations keep running for their grace, and another channel can resume them; the server
   * cancels the rest. All iterators throw `channel_closed`.
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
    // These events come sooner than a timer after a sleep or a dead spot.
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
    this.#enter("ready", {});
    for (const { resolve } of this.#waiting.splice(0)) resolve();
    // onState may have closed it.
    if (this.#link === undefined) return;
    this.#load.plug(this.#link);
    this.#streams.begin(this.#link, limits);
  }

  /**
   * Move from HTTP to a socket that works, if no generation would be lost.
   * @param {Link} link
   * @param {Limits} limits
   */
  #move(link, limits) {
    if (!this.#streams.canMove) return false;
    this.#link?.close();
    this.#streams.unplug({ retry: "soon", reason: "WebSockets work again" });
    this.#link = link;
    this.#ready(limits);
    return true;
  }

  /** @param {Ending} ending */
  #ended(ending) {
    const link = /** @type {Link | HttpLink} */ (this.#link);
    this.#link = undefined;
    this.#prefilled(null);
    this.#trial.stop();
    this.#load.plug(undefined);
    this.#askWhy = !link.wasReady;
    if (link.wasReady) this.#failedHandshakes = link instanceof HttpLink ? this.#failedHandshakes : 0;
    else this.#failedHandshakes = link instanceof Link && link.isBlocked ? this.#failedHandshakes + 1 : 0;
    const error = ending.error ?? new ChannelError("connection_lost", ending.reason);
    if (ending.retry === "never") return this.#shut(error, ending.code);
    this.#streams.unplug(ending);

    if (link.isSteady) this.#attempt = 0;
    const ceiling = (ending.retry === "slow" ? SLOW_DELAY_MS : FIRST_DELAY_MS) * 2 ** this.#attempt;
    // With jitter, so that not all clients return to a restarted server at once.
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
    this.#prefilled(null);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#unlisten.abort();
    this.#trial.stop();
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
      // The caller's error: report it as uncaught, without harm to the generations.
      queueMicrotask(() => { throw error; });
    }
  }
}
