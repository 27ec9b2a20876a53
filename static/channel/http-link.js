// The channel over HTTP, for networks that block WebSockets: takes the same frames as a `Link` and gives the same ones
// back, with a request and server-sent events for each generation.

import { ChannelError } from "./errors.js";
import { events } from "./sse.js";

/** @typedef {import("./connection.js").Target} Target */
/** @typedef {import("./connection.js").Callbacks} Callbacks */
/** @typedef {import("./connection.js").Ending} Ending */
/** @typedef {import("./connection.js").Frame} Frame */

/**
 * @typedef {object} Stream A generation that runs or waits.
 * @property {Frame} frame What started it.
 * @property {string} id Its completion's id; empty until it is known.
 * @property {number} seq The number of its last chunk.
 * @property {boolean} isCancelled
 * @property {boolean} isFinished Whether a chunk had a finish reason.
 * @property {boolean} hasFailed
 * @property {object | null} usage
 * @property {AbortController} stop Ends its request alone.
 */

const PATH = "/v1/chat/completions";
const PROBE_TIMEOUT_MS = 10_000;
/** A browser has six connections to a server over HTTP/1.1; two stay free for everything else. */
const MAX_RUNNING = 4;
/** The server sends a comment every 15 s. Ticks are counted, not time: a sleeping machine's timers stop, too. */
const TICK_MS = 5000;
const TICKS_TO_GIVE_UP = 12;

export class HttpLink {
  #target;
  #callbacks;
  #isReady = false;
  #isOver = false;
  #ending = new AbortController();
  /** Generations whose request is running. @type {Map<string, Stream>} */
  #running = new Map();
  /** Generations that wait for a connection. @type {Stream[]} */
  #waiting = [];
  /** Since the last bytes of any stream. */
  #ticks = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #tickTimer;
  /** Whether it ever received an event, so that its end is not one more failure in a row. */
  isSteady = false;

  /**
   * @param {Target} target
   * @param {Callbacks} callbacks
   */
  constructor(target, callbacks) {
    this.#target = target;
    this.#callbacks = callbacks;
  }

  get isReady() { return this.#isReady && !this.#isOver; }

  get wasReady() { return this.#isReady; }

  /** Ready once the server says that it can generate. */
  async open() {
    try {
      const signal = AbortSignal.any([this.#ending.signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
      const answer = await this.#fetch("/health", { signal });
      if (answer.status !== 200) throw new Error(`/health is ${answer.status}`);
    } catch (cause) {
      this.#fail("unreachable", `The server cannot be reached: ${String(cause)}`, cause);
      return;
    }
    if (this.#isOver) return;
    this.#isReady = true;
    this.#tickTimer = setInterval(() => this.#tick(), TICK_MS);
    this.#callbacks.ready({});
  }

  /** @param {string} text A frame. */
  send(text) {
    if (!this.isReady) return;
    const frame = /** @type {Frame} */ (JSON.parse(text));
    if (frame.type === "chat.completion.cancel") this.#cancel(frame);
    else if (frame.stream_id !== undefined) {
      this.#waiting.push({ frame, id: frame.id ?? "", seq: frame.starting_after ?? 0, isCancelled: false,
        isFinished: false, hasFailed: false, usage: null, stop: new AbortController() });
      this.#next();
    }
  }

  /** Each request notices by itself that the server is gone. */
  probe() {}

  /** Lose it, as on a bad network. */
  cut() { this.#fail("connection_lost", "the connection was cut on purpose"); }

  /** Close it without calling the channel back. */
  close() {
    this.#isOver = true;
    clearInterval(this.#tickTimer);
    this.#ending.abort();
  }

  #tick() {
    this.#ticks = this.#running.size > 0 ? this.#ticks + 1 : 0;
    if (this.#ticks >= TICKS_TO_GIVE_UP) this.#fail("connection_lost", "the server is silent");
  }

  #next() {
    while (this.#running.size < MAX_RUNNING) {
      const stream = this.#waiting.shift();
      if (stream === undefined) return;
      this.#running.set(stream.frame.stream_id, stream);
      void this.#run(stream);
    }
  }

  /** @param {Stream} stream */
  async #run(stream) {
    try {
      const answer = await this.#ask(stream.frame, stream.stop.signal);
      if (answer.ok && answer.body !== null) await this.#read(stream, answer);
      else await this.#refused(stream, answer);
    } catch (cause) {
      if (stream.stop.signal.aborted) this.#cancelled(stream);
      // One lost stream ends the link, as on a socket: the channel then resumes them all.
      else this.#fail("connection_lost", `the connection was lost: ${String(cause)}`, cause);
    }
    this.#running.delete(stream.frame.stream_id);
    if (!this.#isOver) this.#next();
  }

  /**
   * @param {Frame} frame A create, a resume or a follow.
   * @param {AbortSignal} stop
   * @returns {Promise<Response>}
   */
  #ask({ type, body, resume, id, resume_token, follow_token, starting_after }, stop) {
    const signal = AbortSignal.any([this.#ending.signal, stop]);
    if (type !== "chat.completion.create") {
      const path = `${PATH}/${encodeURIComponent(id)}/stream?starting_after=${starting_after}`;
      const kind = type === "chat.completion.follow" ? "Follow" : "Resume";
      return this.#fetch(path, { signal, headers: { [`Twowire-${kind}-Token`]: follow_token ?? resume_token } });
    }
    const options = { include_usage: true, ...body.stream_options };
    /** @type {Record<string, string>} */
    const headers = { "Content-Type": "application/json" };
    if (resume !== undefined) headers["Twowire-Resume-Grace"] = String(resume.grace_s);
    const asked = JSON.stringify({ ...body, stream: true, stream_options: options });
    return this.#fetch(PATH, { method: "POST", headers, body: asked, signal });
  }

  /**
   * @param {Stream} stream
   * @param {Response} answer
   */
  async #read(stream, answer) {
    const { stream_id, event_id, type, starting_after } = stream.frame;
    if (type === "chat.completion.create") {
      const id = answer.headers.get("Twowire-Completion-Id") ?? undefined;
      const resume_token = answer.headers.get("Twowire-Resume-Token") ?? undefined;
      stream.id = id ?? "";
      const follow_token = answer.headers.get("Twowire-Follow-Token") ?? undefined;
      this.#callbacks.frame({ type: "chat.completion.created", stream_id, event_id, id, resume_token, follow_token });
    } else {
      this.#callbacks.frame({ type: "chat.completion.resumed", stream_id, event_id, first_seq: starting_after + 1 });
    }
    if (stream.isCancelled) void this.#delete(stream);
    const body = /** @type {ReadableStream<Uint8Array>} */ (answer.body);
    for await (const { id, data } of events(body, () => { this.#ticks = 0; })) {
      if (this.#isOver) return;
      this.isSteady = true;
      if (data === "[DONE]") return this.#done(stream);
      if (this.#event(stream, id, JSON.parse(data))) return;
    }
    throw new Error("the stream ended early");
  }

  /**
   * @param {Stream} stream
   * @param {string} id
   * @param {any} data
   * @returns {boolean} Whether it was the last.
   */
  #event(stream, id, data) {
    const { stream_id, event_id } = stream.frame;
    if (data.error !== undefined) {
      stream.hasFailed = true;
      this.#callbacks.frame({ type: "error", stream_id, event_id, status: data.status, error: data.error });
      return data.error.code === "taken_over";
    }
    stream.seq = id === "" ? stream.seq + 1 : Number(id);
    stream.usage = data.usage ?? stream.usage;
    /** @type {{ finish_reason?: string | null }[]} */
    const choices = data.choices ?? [];
    stream.isFinished ||= choices.some(({ finish_reason }) => finish_reason);
    const isKnown = stream.id !== "";
    stream.id ||= data.id;
    this.#callbacks.frame({ type: "chat.completion.chunk", stream_id, seq: stream.seq, data });
    if (!isKnown && stream.isCancelled) void this.#delete(stream);
    return false;
  }

  /** @param {Stream} stream */
  #done({ frame, seq, usage, isCancelled, isFinished, hasFailed }) {
    let status = "completed";
    if (hasFailed) status = "failed";
    else if (isCancelled && !isFinished) status = "cancelled";
    this.#callbacks.frame({ type: "chat.completion.done", stream_id: frame.stream_id, seq, status, usage });
  }

  /**
   * @param {Stream} stream
   * @param {Response} answer
   */
  async #refused({ frame, isCancelled }, answer) {
    const body = await answer.json().catch(() => undefined);
    if (this.#isOver) return;
    if (isCancelled) return this.#cancelled({ frame, seq: 0 });
    const { stream_id, event_id } = frame;
    const after = Number(answer.headers.get("Retry-After") ?? Number.NaN);
    const retry_after_s = after >= 0 ? after : undefined;
    if (answer.status === 401) {
      const error = ChannelError.fromServer(body?.error, 401);
      return this.#end({ retry: "never", reason: error.message, error });
    }
    // A proxy's own answer says nothing about the generation: try again.
    if (body?.error === undefined) throw new Error(`HTTP ${answer.status}`);
    this.#callbacks.frame({ type: "error", stream_id, event_id, status: answer.status, retry_after_s, error: body.error });
  }

  /** @param {Frame} frame */
  #cancel({ stream_id }) {
    const position = this.#waiting.findIndex(({ frame }) => frame.stream_id === stream_id);
    if (position >= 0) {
      const [stream] = this.#waiting.splice(position, 1);
      return this.#cancelled(stream);
    }
    const stream = this.#running.get(stream_id);
    if (stream === undefined || stream.isCancelled) return;
    stream.isCancelled = true;
    // A follower's cancel is its own; it must not end the generation.
    if (stream.frame.type === "chat.completion.follow") return stream.stop.abort();
    // Without an id yet, it is deleted as soon as there is one.
    if (stream.id !== "") void this.#delete(stream);
  }

  /** @param {Pick<Stream, "frame" | "seq">} stream That never started, or whose request was ended. */
  #cancelled({ frame, seq }) {
    const { stream_id } = frame;
    this.#callbacks.frame({ type: "chat.completion.done", stream_id, seq, status: "cancelled", usage: null });
  }

  /** @param {Stream} stream */
  async #delete({ id }) {
    // If that fails, the stream goes on to its end, and the reader sees it.
    const { signal } = this.#ending;
    await this.#fetch(`${PATH}/${encodeURIComponent(id)}`, { method: "DELETE", signal }).catch(() => {});
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  #fetch(path, options) {
    const { baseUrl, apiKey, fetch } = this.#target;
    const headers = new Headers(options.headers);
    if (apiKey !== undefined) headers.set("Authorization", `Bearer ${apiKey}`);
    return fetch(baseUrl + path, { ...options, headers, cache: "no-store" });
  }

  /**
   * @param {string} code
   * @param {string} reason
   * @param {unknown} [cause]
   */
  #fail(code, reason, cause) {
    this.#end({ retry: "soon", reason, error: new ChannelError(code, reason, { cause }) });
  }

  /** @param {Ending} ending */
  #end(ending) {
    if (this.#isOver) return;
    this.close();
    this.#callbacks.ended(ending);
  }
}
