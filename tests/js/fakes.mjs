// A WebSocket and a fetch that do what the test says, and what tests of the client need besides.
// Knows the server's frames, not the client.

import { mock } from "node:test";

import { Channel } from "../../static/channel.js";

export const LIMITS = { max_message_bytes: 1000, ping_interval_s: 25, idle_timeout_s: 60, resume_grace_max_s: 120 };

/** The network of one test: every socket that was opened, in `sockets`; every ticket that was asked for, in `asked`. */
export class Network {
  sockets = [];
  asked = [];
  states = [];
  problems = [];
  /** What the next tickets are answered with; the last one again and again. */
  answers = [{ status: 200, body: { subprotocol: "twowire.ticket.abc" } }];

  constructor() {
    const network = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url, protocols) {
        super(url, protocols);
        network.sockets.push(this);
      }
    };
    this.fetch = async (url, init) => {
      this.asked.push({ url, ...init });
      const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
      if (answer instanceof Error) throw answer;
      return Response.json(answer.body, { status: answer.status, headers: answer.headers });
    };
  }

  /** A channel over it; the mocked clock stands still. */
  channel(options = {}) {
    return new Channel({
      baseUrl: "http://server.test:8000",
      WebSocket: this.WebSocket,
      fetch: this.fetch,
      onState: (state, detail) => this.states.push([state, detail]),
      onProblem: (problem) => this.problems.push(problem),
      ...options,
    });
  }

  /** A channel whose first socket is ready, and that socket. */
  async readyChannel(options = {}) {
    const channel = this.channel(options);
    const connected = channel.connect();
    await settled();
    this.socket.accept();
    await connected;
    return [channel, this.socket];
  }

  /** The newest socket. */
  get socket() { return this.sockets.at(-1); }

  get stateNames() { return this.states.map(([state]) => state); }

  get lastState() { return this.states.at(-1); }

  /** Let the time until the next attempt pass; the new socket. */
  async nextSocket() {
    const [, detail] = this.lastState;
    mock.timers.tick(detail.retryInMs);
    await settled();
    return this.socket;
  }

  /** Cut the newest socket and come back on another, which is ready. */
  async reconnected(code = 1006) {
    this.socket.drop(code);
    const socket = await this.nextSocket();
    socket.accept();
    await settled();
    return socket;
  }
}

export class FakeSocket extends EventTarget {
  readyState = 0;
  sent = [];
  closedWith = undefined;

  constructor(url, protocols) {
    super();
    this.url = url;
    this.protocols = protocols;
  }

  send(text) {
    if (this.readyState !== 1) throw new Error("sent on a socket that is not open");
    this.sent.push(JSON.parse(text));
  }

  close(code, reason) {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new Error(`a browser refuses the code ${code}`);
    if (new TextEncoder().encode(reason).length > 123) throw new Error("a browser refuses so long a reason");
    this.closedWith = { code, reason };
    this.readyState = 3;
  }

  accept(limits = LIMITS) {
    this.readyState = 1;
    this.frame({ type: "connection.ready", connection_id: "c", limits });
  }

  /** What the server sends. */
  frame(frame) {
    this.message(JSON.stringify(frame));
  }

  message(data) {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  /** The socket ends, by the peer or the network. */
  drop(code = 1006, reason = "") {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason, wasClean: code !== 1006 }));
  }

  /** The last frame of this type that the client sent. */
  last(type) {
    return this.sent.findLast((frame) => frame.type === type);
  }

  count(type) {
    return this.sent.filter((frame) => frame.type === type).length;
  }

  // -- the server's side of a stream ---------------------------------------------------------------------------------

  created(streamId, more = {}) {
    this.frame({ type: "chat.completion.created", stream_id: streamId, id: "chatcmpl-1", ...more });
  }

  /** Chunks `first` to `last`; each says its own number. */
  chunks(streamId, first, last) {
    for (let seq = first; seq <= last; seq += 1) {
      this.frame({ type: "chat.completion.chunk", stream_id: streamId, seq, data: chunk(`${seq} `) });
    }
  }

  /** Chunk `seq`, with this delta. */
  delta(streamId, seq, delta) {
    const data = { id: "chatcmpl-1", choices: [{ index: 0, delta, finish_reason: null }] };
    this.frame({ type: "chat.completion.chunk", stream_id: streamId, seq, data });
  }

  done(streamId, seq, status = "completed") {
    this.frame({ type: "chat.completion.done", stream_id: streamId, seq, status, usage: USAGE });
  }

  error(status, code, more = {}) {
    this.frame({ type: "error", status, error: { message: `no: ${code}`, type: "x", param: null, code }, ...more });
  }
}

export const USAGE = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };

export function chunk(content, finishReason = null) {
  return { id: "chatcmpl-1", choices: [{ index: 0, delta: { content }, finish_reason: finishReason }] };
}

/** After everything that is due without a timer. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** All that an iterator gives, and what it throws. */
export async function drained(generation) {
  const chunks = [];
  try {
    for await (const piece of generation) chunks.push(piece);
  } catch (error) {
    return { chunks, error };
  }
  return { chunks, error: null };
}
