// One connection of a channel: its ticket, its socket, its heartbeat, and what to do when it ends.

import { ChannelError } from "./errors.js";

/**
 * @typedef {object} Target
 * @property {string} baseUrl The server's address, without a trailing slash.
 * @property {string | undefined} apiKey
 * @property {import("./types.js").ChannelOptions["ticket"]} ticket
 * @property {typeof WebSocket} WebSocket
 * @property {typeof fetch} fetch
 * @property {Watcher} [onFrame]
 */

/** @typedef {(direction: "sent" | "received", text: string) => void} Watcher Gets each frame as it is on the socket. */

/**
 * @typedef {object} Limits The limits in `connection.ready` that this client uses.
 * @property {number} [max_message_bytes]
 * @property {number} [ping_interval_s]
 * @property {number} [max_prefills]
 */

/** @typedef {"soon" | "slow" | "never"} Retry */

/**
 * @typedef {object} Ending Why a link ended.
 * @property {Retry} retry
 * @property {string} reason
 * @property {number} [code] The socket's close code.
 * @property {number} [retryAfterMs]
 * @property {ChannelError} [error]
 */

/** @typedef {{ type?: unknown, [field: string]: any }} Frame A frame from the server. */

/**
 * @typedef {object} Callbacks `ended` is called once, and is the last call.
 * @property {(limits: Limits) => void} ready
 * @property {(frame: Frame) => void} frame
 * @property {(ending: Ending) => void} ended
 */

const SUBPROTOCOL = "twowire.v1";
const OPEN_TIMEOUT_MS = 15_000;

// The server pings every 25 s. A tick is a fifth of that. Ticks are counted instead of time, because the timers of a
// hidden page or a sleeping machine stop, and that must not look like a silent server.
const TICKS_TO_PING = 7;
const TICKS_TO_GIVE_UP = 10;
const DEFAULT_PING_INTERVAL_S = 25;

/** How to go on after a close code, from `docs/websocket.md`. After most others: retry soon. */
const CLOSINGS = new Map([
  [1002, { retry: "never", code: "protocol_error", meaning: "the server reports a protocol error by this client" }],
  [1007, { retry: "never", code: "protocol_error", meaning: "the server reports that this client sent invalid UTF-8" }],
  [1008, { retry: "never", code: "protocol_error", meaning: "the server reports a policy violation by this client" }],
  [1013, { retry: "slow", code: "overloaded", meaning: "the server is overloaded" }],
  [4401, { retry: "never", code: "invalid_api_key", meaning: "the credential was revoked" }],
  [4409, { retry: "never", code: "taken_over", meaning: "another reader took over" }],
]);

const HEARTBEAT_MISSED = 4408;
const BAD_FRAME = 4400;

export class Link {
  #target;
  #callbacks;
  #isOver = false;
  #isReady = false;
  #ticks = 0;
  #hasTicked = false;
  #fetching = new AbortController();
  #listening = new AbortController();
  /** @type {WebSocket | undefined} */
  #socket;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #openTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #tickTimer;

  /**
   * @param {Target} target
   * @param {Callbacks} callbacks
   */
  constructor(target, callbacks) {
    this.#target = target;
    this.#callbacks = callbacks;
  }

  get isReady() { return this.#isReady && !this.#isOver; }

  /** Whether the server has ever accepted it. */
  get wasReady() { return this.#isReady; }

  /** Whether the socket failed before it was ready, though the server answered over HTTP if it was asked for a ticket. */
  isBlocked = false;

  /** Whether it was ready for some seconds, so that its end is not one more failure in a row. */
  get isSteady() { return this.#hasTicked; }

  /**
   * Connect.
   * @param {boolean} withTicket Ask for a ticket first. A key requires one; without a key, the response says why the
   *   server refuses the handshake, which the browser does not.
   */
  async open(withTicket) {
    this.#openTimer = setTimeout(() => {
      this.#end({ retry: "soon", reason: `no answer within ${OPEN_TIMEOUT_MS / 1000} s` });
    }, OPEN_TIMEOUT_MS);
    const protocols = [SUBPROTOCOL];
    if (withTicket || this.#target.ticket !== undefined) {
      const ticket = await this.#ticket();
      if (this.#isOver) return;
      protocols.push(ticket);
    }
    const url = `${this.#target.baseUrl.replace(/^http/i, "ws")}/v1/chat/completions`;
    try {
      this.#socket = new this.#target.WebSocket(url, protocols);
    } catch (cause) {
      // An invalid address, or ws: on an https: page. Retrying would not help.
      const error = new ChannelError("unreachable", `${url} cannot be opened: ${String(cause)}`, { cause });
      this.#end({ retry: "never", reason: error.message, error });
      return;
    }
    this.#listen(this.#socket);
  }

  /** @param {string} text */
  send(text) {
    // A closing socket accepts nothing; its `close` event follows.
    if (this.#socket?.readyState !== 1) return;
    this.#target.onFrame?.("sent", text);
    this.#socket.send(text);
  }

  /** Check now that the server still answers, for example after a sleep or a change of network. */
  probe() {
    if (!this.isReady) return;
    this.#ticks = TICKS_TO_PING;
    this.send('{"type":"ping"}');
  }

  /** Lose it, as on a bad network. */
  cut() {
    this.#end({ retry: "soon", reason: "the connection was cut on purpose" });
  }

  /** Close it without calling the channel back. */
  close() {
    this.#leave(1000, "the client is done");
  }

  // -- the ticket ----------------------------------------------------------------------------------------------------

  /** @returns {Promise<string>} The subprotocol that carries the ticket; empty if the link has ended. */
  async #ticket() {
    const { signal } = this.#fetching;
    try {
      const answer = await this.#askForTicket(signal);
      const body = await answer.json().catch(() => undefined);
      if (answer.ok && typeof body?.subprotocol === "string") return body.subprotocol;
      this.#refused(answer, body);
    } catch (cause) {
      const error = new ChannelError("unreachable", `The server cannot be reached: ${String(cause)}`, { cause });
      this.#end({ retry: "soon", reason: error.message, error });
    }
    return "";
  }

  /** @param {AbortSignal} signal */
  async #askForTicket(signal) {
    const { baseUrl, apiKey, fetch, ticket = `${baseUrl}/v1/ws/tickets` } = this.#target;
    if (typeof ticket === "function") return ticket(signal);
    /** @type {Record<string, string>} */
    const headers = apiKey === undefined ? {} : { Authorization: `Bearer ${apiKey}` };
    return fetch(ticket, { method: "POST", headers, cache: "no-store", signal });
  }

  /**
   * @param {Response} answer
   * @param {any} body
   */
  #refused(answer, body) {
    const seconds = Number(answer.headers.get("Retry-After") ?? Number.NaN);
    const retryAfterS = seconds >= 0 ? seconds : undefined;
    const error = ChannelError.fromServer(body?.error, answer.status, retryAfterS);
    /** @type {Retry} */
    let retry = "never";
    if (answer.status >= 500 || answer.status === 429) retry = "slow";
    else if (answer.status === 408) retry = "soon";
    const retryAfterMs = retryAfterS === undefined ? undefined : retryAfterS * 1000;
    this.#end({ retry, reason: error.message, error, retryAfterMs });
  }

  // -- the socket ----------------------------------------------------------------------------------------------------

  /** @param {WebSocket} socket */
  #listen(socket) {
    const { signal } = this.#listening;
    socket.addEventListener("message", (event) => this.#receive(event.data), { signal });
    // `error` has no details, and `close` follows it.
    socket.addEventListener("close", (event) => this.#closed(event.code, event.reason), { signal });
  }

  /** @param {unknown} message */
  #receive(message) {
    this.#ticks = 0;
    this.#target.onFrame?.("received", String(message));
    /** @type {Frame | undefined} */
    let frame;
    try {
      frame = JSON.parse(/** @type {string} */ (message));
    } catch {
      frame = undefined;
    }
    if (typeof frame !== "object" || frame === null) {
      const error = new ChannelError("protocol_error", "The server sent a frame that is not a JSON object.");
      this.#end({ retry: "slow", reason: error.message, error }, BAD_FRAME);
    } else if (frame.type === "ping") {
      this.send(JSON.stringify({ type: "pong", t: frame.t }));
    } else if (frame.type === "connection.ready" && !this.#isReady) {
      this.#begin(frame.limits ?? {});
    } else if (frame.type !== "pong") {
      this.#callbacks.frame(frame);
    }
  }

  /** @param {Limits} limits */
  #begin(limits) {
    clearTimeout(this.#openTimer);
    this.#isReady = true;
    const intervalMs = ((limits.ping_interval_s ?? DEFAULT_PING_INTERVAL_S) * 1000) / 5;
    this.#tickTimer = setInterval(() => this.#tick(), intervalMs);
    this.#callbacks.ready(limits);
  }

  #tick() {
    this.#hasTicked = true;
    this.#ticks += 1;
    if (this.#ticks === TICKS_TO_PING) this.send('{"type":"ping"}');
    // A dead server does not answer a close either, so do not wait for that.
    if (this.#ticks >= TICKS_TO_GIVE_UP) this.#end({ retry: "soon", reason: "the server is silent" }, HEARTBEAT_MISSED);
  }

  /**
   * @param {number} code
   * @param {string} given The server's reason.
   */
  #closed(code, given) {
    const known = CLOSINGS.get(code);
    const stage = this.#isReady ? "the connection was lost" : "the handshake failed";
    const reason = given || known?.meaning || `${stage} (${code})`;
    // Codes of this range that a later version may add are final.
    const isFinal = known === undefined && code >= 4400 && code <= 4499 && code !== HEARTBEAT_MISSED;
    const retry = /** @type {Retry} */ (known?.retry ?? (isFinal ? "never" : "soon"));
    const error = new ChannelError(known?.code ?? "connection_lost", reason, { closeCode: code });
    this.#end({ retry, reason, code, error });
  }

  /**
   * @param {Ending} ending
   * @param {number} [closeCode]
   */
  #end(ending, closeCode) {
    if (this.#isOver) return;
    this.isBlocked = this.#socket !== undefined && !this.#isReady;
    this.#leave(closeCode ?? 1000, ending.reason);
    this.#callbacks.ended(ending);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #leave(code, reason) {
    this.#isOver = true;
    clearTimeout(this.#openTimer);
    clearInterval(this.#tickTimer);
    this.#fetching.abort();
    this.#listening.abort();
    // RFC 6455, section 5.5: a close frame has room for a reason of 123 bytes.
    const isShort = /^[\x20-\x7e]{0,120}$/.test(reason);
    if (this.#socket !== undefined && this.#socket.readyState < 2) this.#socket.close(code, isShort ? reason : "");
  }
}
