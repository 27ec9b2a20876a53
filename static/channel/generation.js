// One generation on a channel: `Generation` is what its reader sees, `Run` is the channel's side of it.

import { ChannelError } from "./errors.js";
import { Gathered } from "./gathered.js";

export { ChannelError };

/**
 * @typedef {object} Usage OpenAI's `usage` object.
 * @property {number} prompt_tokens
 * @property {number} completion_tokens
 * @property {number} total_tokens
 * @property {{ reasoning_tokens: number }} [completion_tokens_details]
 */

/**
 * @typedef {object} Chunk OpenAI's `chat.completion.chunk` object; the fields that this module reads.
 * @property {string} id
 * @property {{ index: number, delta: import("./gathered.js").Delta, finish_reason?: string | null }[]} choices
 */

/** @typedef {"waiting" | "running" | "completed" | "cancelled" | "failed"} Status */

/**
 * A generation, as its reader sees it: an async iterator of `chat.completion.chunk` objects.
 *
 * With `id`, `resumeToken` and `seq`, a page can resume it after a reload (`Channel.resume`). `seq`, `text`, `reasoning`,
 * `toolCalls`, `status` and `usage` cover the chunks that the reader has taken, not those that wait, so they can be
 * stored together. Leaving the loop early (`break`, `return`) cancels the generation. The iterator throws an error once, after the chunks that came
 * before it; `text` keeps what was received.
 */
export class Generation {
  #run;

  /** @param {Run} run */
  constructor(run) {
    this.#run = run;
    /**
     * Resolves once the server has accepted it, with `id` and `resumeToken` set. Rejects if it did not.
     * @type {Promise<Generation>}
     */
    this.created = new Promise((resolve, reject) => {
      run.onAdmitted = () => resolve(this);
      run.onRefused = reject;
    });
    // Awaiting it is optional: the iterator throws the same error.
    this.created.catch(() => {});
  }

  /** The completion's id, `chatcmpl-…`; null before it is created. */
  get id() { return this.#run.id; }

  /** The secret needed to resume, beside the id and the same key; null if it cannot be resumed. */
  get resumeToken() { return this.#run.isFollower ? null : this.#run.token; }

  /** With it and the id, others can read it (`Channel.follow`); null if it cannot be followed. */
  get followToken() { return this.#run.followToken; }

  /** The number of the last chunk taken, from 1; 0 before the first. */
  get seq() { return this.#run.takenSeq; }

  /** The first choice's text in the chunks taken. */
  get text() { return this.#run.text; }

  /** What the first choice's model thought, in the chunks taken. */
  get reasoning() { return this.#run.gathered.reasoning; }

  /** The first choice's tool calls, in the chunks taken; they grow, so store a copy. */
  get toolCalls() { return this.#run.gathered.toolCalls; }

  /** The first choice's `finish_reason`; null before its last chunk, and if it was cancelled. */
  get finishReason() { return this.#run.finishReason; }

  /** @returns {Status} Final only once every chunk has been taken. */
  get status() { return this.#run.visibleStatus; }

  /** The server's usage; null before the end, and if the end was not received. */
  get usage() { return this.#run.waitingChunks === 0 ? this.#run.usage : null; }

  /** The error that it failed with. */
  get error() { return this.#run.waitingChunks === 0 ? this.#run.error : null; }

  /** The number of chunks that wait to be taken. */
  get waitingChunks() { return this.#run.waitingChunks; }

  /** Cancel it. Chunks that were already generated still arrive, then the iterator ends with status `cancelled`. */
  cancel() { this.#run.askCancel(); }

  /** @returns {Promise<IteratorResult<Chunk, undefined>>} */
  next() { return this.#run.take(); }

  /** @returns {Promise<IteratorResult<Chunk, undefined>>} Called when a loop is left early: cancels. */
  async return() {
    this.#run.abandon();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator]() { return this; }
}

/**
 * @typedef {object} Taker A caller that waits for the next chunk.
 * @property {(result: IteratorResult<Chunk, undefined>) => void} resolve
 * @property {(error: ChannelError) => void} reject
 */

/**
 * The channel's side of a generation.
 *
 * `phase`: `queued` (not sent), `creating` and `resuming` (sent, not answered), `running`, `detached` (runs without a
 * connection and can be resumed), `over`.
 */
export class Run {
  /** @type {"queued" | "creating" | "running" | "resuming" | "detached" | "over"} */
  phase = "queued";
  /** The current stream; each time that it is sent gets a new one. */
  streamId = "";
  /** The request body as JSON; empty for a run that is only resumed. */
  body = "";
  /** @type {number | undefined} */
  graceS = undefined;
  /** How often the create was sent. */
  sends = 0;
  /** @type {string | null} */
  id = null;
  /** @type {string | null} */
  token = null;
  /** @type {string | null} */
  followToken = null;
  /** Whether `token` is the follow token of somebody else's generation. */
  isFollower = false;
  /** The number of the last chunk received. */
  receivedSeq = 0;
  /** Where a gap was last repaired; a second gap at the same place is an error. */
  mendedAt = -1;
  isCancelAsked = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  retryTimer = undefined;

  takenSeq = 0;
  text = "";
  gathered = new Gathered();
  /** @type {string | null} */
  finishReason = null;
  /** @type {Usage | null} */
  usage = null;
  /** @type {ChannelError | null} */
  error = null;

  /** @type {() => void} */
  onAdmitted = () => {};
  /** @type {(error: ChannelError) => void} */
  onRefused = () => {};
  /** @type {() => void} */
  onCancel = () => {};
  /** @type {() => void} */
  onOver = () => {};

  /** @type {Status} */
  #status = "waiting";
  #isThrown = false;
  #isAbandoned = false;
  /** @type {{ seq: number, chunk: Chunk }[]} */
  #chunks = [];
  /** @type {Taker[]} */
  #takers = [];

  generation = new Generation(this);

  get waitingChunks() { return this.#chunks.length; }

  /** Whether it has ended; the reader may still have chunks to take. */
  get isOver() { return this.#status !== "waiting" && this.#status !== "running"; }

  /** @returns {Status} */
  get visibleStatus() { return this.isOver && this.#chunks.length > 0 ? "running" : this.#status; }

  // -- the channel's side --------------------------------------------------------------------------------------------

  /** The server has accepted it. */
  admit() {
    if (this.#status === "waiting") this.#status = "running";
    this.onAdmitted();
  }

  /**
   * Add the next chunk; the caller has checked its number.
   * @param {number} seq
   * @param {Chunk} chunk
   */
  receive(seq, chunk) {
    this.receivedSeq = seq;
    if (this.isOver || this.#isAbandoned) return;
    this.#chunks.push({ seq, chunk });
    this.#serve();
  }

  /**
   * @param {"completed" | "cancelled" | "failed"} status
   * @param {Usage | null} usage
   * @param {ChannelError | null} error Thrown by the iterator at the end.
   */
  finish(status, usage, error = null) {
    if (this.isOver) return;
    this.#status = status;
    this.usage = usage;
    this.error = error;
    this.onRefused(error ?? new ChannelError("cancelled", "It was cancelled before it was created."));
    this.#serve();
    this.onOver();
  }

  // -- the reader's side ---------------------------------------------------------------------------------------------

  askCancel() {
    if (this.isOver || this.isCancelAsked) return;
    this.isCancelAsked = true;
    this.onCancel();
  }

  /** The reader has left: drop its chunks and cancel. */
  abandon() {
    this.#isAbandoned = true;
    this.#chunks.length = 0;
    this.#isThrown = true;
    this.askCancel();
    this.#serve();
  }

  /** @returns {Promise<IteratorResult<Chunk, undefined>>} */
  take() {
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject });
      this.#serve();
    });
  }

  #serve() {
    while (this.#takers.length > 0) {
      const next = this.#chunks.shift();
      if (next === undefined && !this.isOver && !this.#isAbandoned) return;
      const taker = /** @type {Taker} */ (this.#takers.shift());
      if (next !== undefined) {
        this.#note(next.seq, next.chunk);
        taker.resolve({ done: false, value: next.chunk });
      } else if (this.error !== null && !this.#isThrown) {
        this.#isThrown = true;
        taker.reject(this.error);
      } else {
        taker.resolve({ done: true, value: undefined });
      }
    }
  }

  /**
   * @param {number} seq
   * @param {Chunk} chunk
   */
  #note(seq, chunk) {
    this.takenSeq = seq;
    for (const choice of chunk.choices ?? []) {
      if (choice.index !== 0) continue;
      this.text += choice.delta?.content ?? "";
      this.gathered.add(choice.delta ?? {});
      this.finishReason = choice.finish_reason ?? this.finishReason;
    }
  }
}
