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

import { Connector } from "./channel/connector.js";
import { oversize } from "./channel/frames.js";
import { Gathered } from "./channel/gathered.js";
import { ChannelError, Generation, Run } from "./channel/generation.js";
import { Load } from "./channel/load.js";
import { Streams } from "./channel/streams.js";

export { ChannelError, Generation };

/** @typedef {import("./channel/gathered.js").ToolCall} ToolCall */
/** @typedef {import("./channel/types.js").State} State */
/** @typedef {import("./channel/types.js").StateDetail} StateDetail */
/** @typedef {import("./channel/types.js").ChannelOptions} ChannelOptions */

export class Channel {
  /** @type {import("./channel/connection.js").Target} */
  #target;
  #onProblem;
  #streams = new Streams({
    problem: (problem) => this.#onProblem(problem),
    resumed: (counts) => this.#connector.enter("resumed", counts),
  });
  #load = new Load();
  #lastPrefill = 0;
  /** @type {(answer: any) => void} */
  #prefilled = () => {};
  #connector;

  /** @param {ChannelOptions} [options] It connects with the first generation, or with `connect`. */
  constructor(options = {}) {
    const page = typeof location === "undefined" ? undefined : location.origin;
    const { baseUrl = page, apiKey, ticket, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = options;
    if (!baseUrl) throw new TypeError("Outside a page, baseUrl is required.");
    if (!WebSocket) throw new TypeError("There is no global WebSocket: pass one, or use Node 22 or newer.");
    if (ticket !== undefined && (apiKey !== undefined || options.fallback)) {
      throw new TypeError("A ticket replaces the key, and opens no HTTP: leave apiKey and fallback out.");
    }
    this.#target = { baseUrl: baseUrl.replace(/\/+$/, "").replace(/\/v1$/, ""), apiKey, ticket, WebSocket, fetch };
    const onState = options.onState ?? (() => {});
    this.#onProblem = options.onProblem ?? ((/** @type {ChannelError} */ problem) => console.warn(problem));
    this.#connector = new Connector(this.#target, options.fallback ?? false, {
      entered: (state, detail) => onState(state, detail),
      ready: (link, limits) => {
        this.#load.plug(link);
        this.#streams.begin(link, limits);
      },
      frame: (frame) => this.#dispatch(frame),
      lost: (ending) => {
        this.#unplug();
        this.#streams.unplug(ending);
      },
      closed: (error) => {
        this.#unplug();
        this.#streams.end(error);
      },
      canMove: () => this.#streams.canMove,
    });
  }

  get state() { return this.#connector.state; }

  /** What carries it: HTTP only with `fallback`, while WebSockets are blocked. @returns {"websocket" | "http"} */
  get wire() { return this.#connector.wire; }

  /** Called with each frame that goes over the socket, as it is; undefined for none. It must not throw. */
  set onFrame(/** @type {import("./channel/connection.js").Watcher | undefined} */ watcher) {
    this.#target.onFrame = watcher;
  }

  /** The server's limits for this connection, once it is ready. */
  get limits() { return this.#connector.limits; }

  /**
   * Connect, if that has not been done. Resolves once the channel is ready, however long that takes; rejects after a
   * wrong key or `close`.
   * @returns {Promise<void>}
   */
  connect() { return this.#connector.connect(); }

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
    const { socket, limits } = this.#connector;
    if (!limits.max_prefills || socket === undefined) return Promise.resolve(null);
    this.#lastPrefill += 1;
    const event_id = `prefill-${this.#lastPrefill}`;
    const frame = JSON.stringify({ type: "chat.completion.prefill", event_id, body });
    if (oversize(frame, limits.max_message_bytes ?? Number.POSITIVE_INFINITY) > 0) return Promise.resolve(null);
    socket.send(frame);
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
   * @param {object} from The `id`, `resumeToken` and `seq` of a Generation, and what it has gathered up to then.
   * @param {string} from.id
   * @param {string} from.resumeToken
   * @param {number} [from.startingAfter] The number of the last chunk received.
   * @param {string} [from.text] The text up to that chunk, so that `Generation.text` is complete.
   * @param {string} [from.reasoning] The reasoning up to that chunk, likewise.
   * @param {ToolCall[]} [from.toolCalls] The calls up to that chunk. Of a call that has begun, the rest makes no sense
   *   without its beginning, so it is left out unless that is here.
   * @param {AbortSignal} [from.signal] Cancels the generation.
   * @returns {Generation}
   */
  resume({ resumeToken, ...from }) {
    return this.#attach(resumeToken, from);
  }

  /**
   * Read a generation of somebody else's beside its reader. Cancelling it only ends that.
   * @param {object} from
   * @param {string} from.id
   * @param {string} from.followToken From the `followToken` of that generation.
   * @param {number} [from.startingAfter] The number of the last chunk received.
   * @param {string} [from.text] The text up to that chunk, as for `resume`.
   * @param {string} [from.reasoning] The reasoning up to that chunk.
   * @param {ToolCall[]} [from.toolCalls] The calls up to that chunk.
   * @param {AbortSignal} [from.signal] Stops following.
   * @returns {Generation}
   */
  follow({ followToken, ...from }) {
    return this.#attach(followToken, from, true);
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
   * @param {string} token
   * @param {{ id: string, startingAfter?: number, text?: string, reasoning?: string, toolCalls?: ToolCall[],
   *   signal?: AbortSignal }} from
   */
  #attach(token, { id, startingAfter = 0, text = "", reasoning, toolCalls, signal }, isFollower = false) {
    const run = new Run();
    run.phase = "detached";
    Object.assign(run, { id, token, text, isFollower, receivedSeq: startingAfter, takenSeq: startingAfter });
    // A copy, as the calls grow, and these are the caller's.
    run.gathered = new Gathered(reasoning, structuredClone(toolCalls));
    return this.#add(run, signal);
  }

  /** Lose the connection, as on a bad network, to see what happens: it is made again, and generations are resumed. */
  cut() { this.#connector.cut(); }

  /**
   * Close for good. Resumable generations keep running for their grace, and another channel can resume them; the server
   * cancels the rest. All iterators throw `channel_closed`.
   */
  close() { this.#connector.close(); }

  /** @param {import("./channel/connection.js").Frame} frame */
  #dispatch(frame) {
    if (frame.stream_id === undefined && this.#isOfPrefill(frame)) return;
    if (frame.stream_id !== undefined || !this.#load.dispatch(frame)) this.#streams.dispatch(frame);
  }

  #unplug() {
    this.#prefilled(null);
    this.#load.plug(undefined);
  }

  /**
   * @param {Run} run
   * @param {AbortSignal | undefined} signal
   */
  #add(run, signal) {
    const cause = this.#connector.closedBy;
    if (cause) throw new ChannelError("channel_closed", `The channel is closed: ${cause.message}`, { cause });
    this.#streams.add(run, signal);
    this.#connector.start();
    return run.generation;
  }
}
