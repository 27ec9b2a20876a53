// One answer of the bench: asks for it, measures it, and makes the record that is saved.

import { SPEED_MIN_S } from "../views/message/answer-stats.js";

/** @typedef {import("../state/connection.js").Connection} Connection */
/** @typedef {import("../../channel/generation.js").Usage} Usage */
/** @typedef {import("../../channel/gathered.js").ToolCall} ToolCall */

/**
 * @typedef {object} Token
 * @property {string} token
 * @property {number} logprob
 * @property {{ token: string, logprob: number }[]} top_logprobs
 */

/**
 * @typedef {object} Piece A part of the text with the tokens that made it: one, where each token is a text of its own.
 * @property {string} text
 * @property {Token[]} tokens
 */

/**
 * @typedef {object} Choice
 * @property {import("../../channel/gathered.js").Delta} delta
 * @property {{ content: Token[] | null } | null} [logprobs]
 */

/** The protocol's words. @type {Record<string, string>} */
const STATUS = { done: "completed", stopped: "cancelled" };

export class Run {
  /** @type {"waiting" | "running" | "done" | "stopped" | "failed"} */
  state = "waiting";
  text = "";
  reasoning = "";
  /** @type {ToolCall[]} */
  calls = [];
  /** The text with its tokens, if they were asked for. @type {Piece[]} */
  pieces = [];
  /** OpenAI's `finish_reason`. @type {string | null} */
  finish = null;
  /** @type {Usage | null} */
  usage = null;
  /** @type {{ code: string, message: string } | null} */
  error = null;
  /** Chunks with text or thoughts so far; each has at least one token. */
  chunks = 0;
  /** All in milliseconds of the page's clock; 0 before it has happened. */
  sent = 0;
  first = 0;
  last = 0;
  ended = 0;
  stopAsked = 0;
  #startedAt = new Date();
  #stop = new AbortController();
  /** Tokens whose text has not come yet. @type {Token[]} */
  #held = [];

  /**
   * @param {string} column
   * @param {Record<string, unknown>} body The request.
   */
  constructor(column, body) {
    this.column = column;
    this.body = body;
  }

  get isOver() { return this.state !== "waiting" && this.state !== "running"; }

  /** Tokens a second after the first one; null if the answer is too short to tell. */
  get pace() {
    const tokens = this.usage?.completion_tokens ?? this.chunks;
    const seconds = (this.last - this.first) / 1000;
    return this.first > 0 && tokens > 1 && seconds >= SPEED_MIN_S ? (tokens - 1) / seconds : null;
  }

  stop() {
    if (this.isOver || this.stopAsked > 0) return;
    this.stopAsked = performance.now();
    this.#stop.abort();
  }

  /**
   * Run it to its end. Once the server can answer, runs that were started together are sent together.
   * @param {Connection} connection
   * @param {() => void} changed
   */
  async go(connection, changed) {
    const { signal } = this.#stop;
    try {
      await connection.ready(signal);
      await connection.channel.connect();
      signal.throwIfAborted();
      await this.#read(connection.channel.create(this.body, { signal }), changed);
    } catch (error) {
      this.state = this.sent === 0 && signal.aborted ? "stopped" : "failed";
      const code = String(/** @type {any} */ (error).code ?? "");
      if (this.state === "failed") this.error = { code, message: error instanceof Error ? error.message : String(error) };
    }
    this.ended = performance.now();
    changed();
  }

  /**
   * @param {import("../../channel.js").Generation} generation
   * @param {() => void} changed
   */
  async #read(generation, changed) {
    this.sent = performance.now();
    this.state = "running";
    changed();
    for await (const chunk of generation) {
      const choice = /** @type {Choice | undefined} */ (chunk.choices[0]);
      if (choice !== undefined) this.#add(choice, performance.now());
      this.reasoning = generation.reasoning;
      changed();
    }
    this.calls = generation.toolCalls;
    this.usage = generation.usage;
    this.finish = generation.finishReason;
    this.state = generation.status === "cancelled" ? "stopped" : "done";
  }

  /**
   * @param {Choice} choice
   * @param {number} at
   */
  #add({ delta, logprobs }, at) {
    const { content, reasoning, tool_calls: calls } = delta;
    // Tokens of thoughts are not shown: only those of the text.
    if (logprobs?.content && !reasoning) this.#held.push(...logprobs.content);
    if (!content && !reasoning && !calls?.length) return;
    this.chunks += 1;
    this.first ||= at;
    this.last = at;
    if (!content) return;
    this.text += content;
    if (this.#held.length === 0) return;
    const tokens = this.#held.splice(0);
    // A character of several tokens has no token's text, and a stop string may have held some of it back.
    const areTexts = tokens.map(({ token }) => token).join("") === content;
    if (areTexts) this.pieces.push(...tokens.map((token) => ({ text: token.token, tokens: [token] })));
    else this.pieces.push({ text: content, tokens });
  }

  /** What is saved: one line of the file. */
  record() {
    const { first, sent, ended, pace } = this;
    return {
      column: this.column,
      started_at: this.#startedAt.toISOString(),
      status: STATUS[this.state] ?? this.state,
      finish_reason: this.finish,
      error: this.error ?? undefined,
      first_token_ms: first > 0 ? rounded(first - sent) : null,
      total_ms: sent > 0 ? rounded(ended - sent) : null,
      tokens_per_s: pace === null ? null : rounded(pace),
      stop_confirmed_ms: this.stopAsked > 0 && sent > 0 ? rounded(ended - this.stopAsked) : undefined,
      usage: this.usage,
      request: this.body,
      text: this.text,
      reasoning: this.reasoning || undefined,
      tool_calls: this.calls.length > 0 ? this.calls : undefined,
      logprobs: this.pieces.length > 0 ? this.pieces.flatMap(({ tokens }) => tokens.map(plain)) : undefined,
    };
  }
}

/** @param {number} value */
function rounded(value) {
  return Math.round(value * 10) / 10;
}

/** Without the bytes. @param {Token} token */
function plain({ token, logprob, top_logprobs: top }) {
  return { token, logprob, top_logprobs: top.map((one) => ({ token: one.token, logprob: one.logprob })) };
}
