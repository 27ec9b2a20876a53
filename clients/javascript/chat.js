// One conversation and the answer that streams into it: what `useTwowire` shows. Knows no framework.

import { Channel, ChannelError } from "./channel.js";

/** @typedef {import("./channel/generation.js").Generation} Generation */
/** @typedef {import("./channel/generation.js").Usage} Usage */
/** @typedef {import("./channel/types.js").ChannelOptions} ChannelOptions */
/** @typedef {import("./channel/types.js").State} Connection */

/**
 * @typedef {object} Message A message in the form that `POST /v1/chat/completions` takes.
 * @property {"system" | "developer" | "user" | "assistant" | "tool"} role
 * @property {string | null | object[]} [content]
 * @property {string} [reasoning] What the model thought.
 * @property {import("./channel/gathered.js").ToolCall[]} [tool_calls]
 * @property {string} [tool_call_id]
 * @property {string} [name]
 */

/**
 * @typedef {object} Checkpoint What resumes an answer, for example after a reload: JSON, secret.
 * @property {string} id
 * @property {string} resumeToken
 * @property {number} startingAfter The number of the last chunk in what follows.
 * @property {string} text
 * @property {string} reasoning
 * @property {import("./channel/gathered.js").ToolCall[]} toolCalls The last one may be incomplete.
 */

/**
 * @typedef {object} ChatOptions
 * @property {string} [url] The server's address; by default the page's own server.
 * @property {ChannelOptions["ticket"]} [ticket] Where your own server hands out tickets, or what asks it for one.
 * @property {string} [apiKey] Instead of a ticket, where a page may have the key.
 * @property {string} model
 * @property {Message[]} [messages] With which the conversation begins.
 * @property {Record<string, unknown>} [body] More fields of the request, such as `temperature` or `tools`.
 * @property {number} [resumeGrace] Seconds that an answer may run without a connection, 60 by default; 0 for none.
 * @property {boolean} [fallback] Use HTTP where WebSockets are blocked; not with a ticket.
 * @property {typeof WebSocket} [WebSocket] Instead of the global one.
 * @property {typeof fetch} [fetch] Instead of the global one.
 */

/**
 * @typedef {object} ChatState
 * @property {Message[]} messages The conversation; an answer that streams is the last message, and grows.
 * @property {string} text Of the latest answer, as far as it has come.
 * @property {"ready" | "submitted" | "streaming" | "error"} status `submitted`: nothing of the answer has come yet.
 * @property {Error | null} error Why the latest answer failed; what came of it stays in `messages`.
 * @property {Connection} connection While it is `reconnecting`, an answer waits, and then goes on where it was.
 * @property {string | null} finishReason The latest answer's; null while it streams, and if it was stopped.
 * @property {Usage | null} usage The latest answer's, once it has ended.
 */

const DEFAULT_GRACE_S = 60;
const FRAME_MS = 16;

/** @type {Pick<ChatState, "text" | "error" | "finishReason" | "usage">} */
const NO_ANSWER = { text: "", error: null, finishReason: null, usage: null };

export class Chat {
  /** What the next request uses. @type {ChatOptions} */
  options;
  /** @type {ChatState} */
  #state;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** @type {Channel | undefined} */
  #channel;
  /** @type {Generation | undefined} */
  #generation;

  /** @param {ChatOptions} options */
  constructor(options) {
    this.options = options;
    this.#state = { messages: options.messages ?? [], status: "ready", connection: "idle", ...NO_ANSWER };
  }

  /**
   * @param {() => void} listener Called after each change.
   * @returns {() => void} Ends it.
   */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  };

  /** The state; another object after each change. */
  snapshot = () => this.#state;

  /** Make it ready to send. It connects with the first message. */
  open() {
    const { url, apiKey, ticket, fallback, WebSocket, fetch } = this.options;
    /** @type {Channel} */
    const channel = new Channel({
      baseUrl: url,
      apiKey,
      // Looked up each time: a component's function may be another one after each render, and so may an address.
      ticket: ticket === undefined ? undefined : (signal) => this.#askForTicket(signal),
      fallback,
      WebSocket,
      fetch,
      onState: (connection) => { if (channel === this.#channel) this.#set({ connection }); },
    });
    this.#channel = channel;
  }

  /** Stop the answer, and close the connection. */
  close() {
    this.#drop();
    const channel = this.#channel;
    this.#channel = undefined;
    channel?.close();
    this.#set({ connection: "idle" });
  }

  /**
   * Add to the conversation, and have it answered. Resolves once the answer has ended, however it did: a failure is in
   * `status` and `error`. Rejects if an answer is running.
   * @param {string | Message | Message[]} added A text is a message of the user's; several are, for example, the results
   *   of tools.
   */
  send = async (added) => {
    const messages = typeof added === "string" ? [{ role: /** @type {const} */ ("user"), content: added }] : [added].flat();
    await this.#answer([...this.#state.messages, ...messages]);
  };

  /** Have the last question answered anew, also after an error. Rejects if an answer is running. */
  regenerate = async () => {
    const { messages } = this.#state;
    const last = messages.findLastIndex(({ role }) => role !== "assistant");
    await this.#answer(messages.slice(0, last + 1));
  };

  /** Stop the answer; what has come of it stays. */
  stop = () => { this.#generation?.cancel(); };

  /**
   * Replace the conversation; an answer that is running is stopped and forgotten.
   * @param {Message[]} messages
   */
  setMessages = (messages) => {
    this.#drop();
    this.#set({ messages, status: "ready", ...NO_ANSWER });
  };

  /** What resumes the running answer elsewhere or later; null if there is none, or it cannot be resumed. */
  checkpoint = () => {
    const generation = this.#generation;
    if (!generation?.id || !generation.resumeToken) return null;
    const { id, resumeToken, seq, text, reasoning, toolCalls } = generation;
    /** @type {Checkpoint} */
    const found = { id, resumeToken, startingAfter: seq, text, reasoning, toolCalls: structuredClone(toolCalls) };
    return found;
  };

  /**
   * Go on with an answer that another page has begun, for example this one before a reload. `messages` are those before
   * it. Resolves and rejects as `send` does.
   * @param {Checkpoint} from
   */
  resume = async (from) => {
    await this.#run(this.#state.messages, () => this.#ready().resume(from));
  };

  // -- one answer ----------------------------------------------------------------------------------------------------

  /** @param {Message[]} messages */
  #answer(messages) {
    const { model, body, resumeGrace = DEFAULT_GRACE_S } = this.options;
    const grace = resumeGrace > 0 ? { resumeGrace } : {};
    return this.#run(messages, () => this.#ready().create({ ...body, model, messages }, grace));
  }

  /**
   * @param {Message[]} messages Before the answer.
   * @param {() => Generation} begin
   */
  async #run(messages, begin) {
    if (this.#generation) throw new Error("An answer is running: wait for its end, or stop it first.");
    /** @type {Error | null} */
    let error = null;
    /** @type {Generation | undefined} */
    let generation;
    this.#set({ messages, status: "submitted", ...NO_ANSWER });
    try {
      generation = this.#generation = begin();
      const draw = atNextFrame(() => this.#draw(messages, generation));
      for await (const _ of generation) draw();
    } catch (problem) {
      error = problem instanceof Error ? problem : new Error(String(problem));
    }
    // It was dropped.
    if (generation !== this.#generation) return;
    this.#draw(messages, generation);
    this.#generation = undefined;
    const { finishReason = null, usage = null } = generation ?? {};
    this.#set({ status: error === null ? "ready" : "error", error, finishReason, usage });
  }

  /**
   * @param {Message[]} messages
   * @param {Generation | undefined} generation
   */
  #draw(messages, generation) {
    if (generation === undefined || generation !== this.#generation) return;
    const { text, reasoning, toolCalls } = generation;
    const hasCalls = toolCalls.length > 0;
    if (!text && !reasoning && !hasCalls) return;
    /** @type {Message} */
    const answer = { role: "assistant", content: text || (hasCalls ? null : "") };
    if (reasoning) answer.reasoning = reasoning;
    if (hasCalls) answer.tool_calls = structuredClone(toolCalls);
    this.#set({ messages: [...messages, answer], text, status: "streaming" });
  }

  /** Stop the answer, and take no notice of it any more. */
  #drop() {
    const generation = this.#generation;
    if (generation === undefined) return;
    this.#generation = undefined;
    generation.cancel();
    this.#set({ status: "ready" });
  }

  #ready() {
    if (this.#channel === undefined) throw new ChannelError("channel_closed", "The component is not mounted.");
    if (this.#channel.state === "closed") this.open();
    return this.#channel;
  }

  /** @param {AbortSignal} signal */
  #askForTicket(signal) {
    const { ticket } = this.options;
    if (typeof ticket === "function") return ticket(signal);
    return (this.options.fetch ?? fetch)(ticket ?? "", { method: "POST", cache: "no-store", signal });
  }

  /** @param {Partial<ChatState>} change */
  #set(change) {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Many chunks come between two frames of the screen, and only the last of them is seen.
 * @param {() => void} draw
 * @returns {() => void} Draws at the next frame, once however often it is called before.
 */
function atNextFrame(draw) {
  let isDue = false;
  const run = () => {
    isDue = false;
    draw();
  };
  return () => {
    if (isDue) return;
    isDue = true;
    // Outside of a browser there are no frames.
    if (typeof requestAnimationFrame === "undefined") setTimeout(run, FRAME_MS);
    else requestAnimationFrame(run);
  };
}
