// One generation on its way through a channel: what came of it, and how its reader takes it.
// Does not know sockets, nor when something is sent: `channel.js` does.

/** @typedef {{ message: string, type?: string | null, param?: string | null, code?: string | null }} ErrorObject */

/**
 * @typedef {object} Usage What a generation cost: OpenAI's `usage` object.
 * @property {number} prompt_tokens
 * @property {number} completion_tokens
 * @property {number} total_tokens
 */

/**
 * @typedef {object} Chunk OpenAI's `chat.completion.chunk` object; the fields that this module reads.
 * @property {string} id
 * @property {{ index: number, delta: { content?: string | null }, finish_reason?: string | null }[]} choices
 */

/** @typedef {"waiting" | "running" | "completed" | "cancelled" | "failed"} Status */

/**
 * What goes wrong on a channel, and the server's errors with all their fields.
 *
 * Codes of this client's own: `connection_lost` (a generation that cannot be resumed lost its socket),
 * `channel_closed`, `chunks_missing`, `protocol_error` (a peer that does not speak this protocol), `unreachable`.
 */
export class ChannelError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, type?: string | null, param?: string | null, retryAfterS?: number,
   *   closeCode?: number, cause?: unknown }} [more]
   */
  constructor(code, message, more = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = "ChannelError";
    /** OpenAI's code of the error, or one of this client's own. */
    this.code = code;
    /** The HTTP status that the error would have; undefined for this client's own. */
    this.status = more.status;
    this.type = more.type ?? null;
    /** The field at fault, such as `messages[0].content`, where there is one. */
    this.param = more.param ?? null;
    /** When the server said so: seconds after which to try again. */
    this.retryAfterS = more.retryAfterS;
    /** The code that the socket was closed with, where that is what went wrong. */
    this.closeCode = more.closeCode;
  }

  /**
   * @param {ErrorObject | undefined} error The server's error object.
   * @param {number | undefined} status
   * @param {number | undefined} [retryAfterS]
   */
  static fromServer(error, status, retryAfterS) {
    const { message = `The server answered ${status}.`, type, param, code } = error ?? {};
    return new ChannelError(code ?? "server_error", message, { status, type, param, retryAfterS });
  }
}

/**
 * A generation, as its reader sees it: an async iterator of `chat.completion.chunk` objects.
 *
 * `id`, `resumeToken` and `seq` are all that a page has to keep to come back after a reload (`Channel.resume`). `seq`,
 * `text`, `status` and `usage` speak of the chunks that the reader has taken, not of those that wait, so that what is
 * stored together belongs together. To leave the loop early (`break`, `return`) is to cancel. An error is thrown by
 * the iterator, once, after the chunks that came before it; `text` keeps what was there.
 */
export class Generation {
  #run;

  /** @param {Run} run */
  constructor(run) {
    this.#run = run;
    /**
     * Settles once the server has admitted it: `id` and `resumeToken` are there. Rejects where it did not.
     * @type {Promise<Generation>}
     */
    this.created = new Promise((resolve, reject) => {
      run.onAdmitted = () => resolve(this);
      run.onRefused = reject;
    });
    // Nobody has to wait for it: the same error comes out of the iterator.
    this.created.catch(() => {});
  }

  /** The completion's id, `chatcmpl-…`; null until it is created. */
  get id() { return this.#run.id; }

  /** The secret that, with the id and the same key, lets one resume; null where that was not asked for. */
  get resumeToken() { return this.#run.token; }

  /** The number of the last chunk taken, from 1; 0 before the first. */
  get seq() { return this.#run.takenSeq; }

  /** The text of the chunks taken, of the first choice. */
  get text() { return this.#run.text; }

  /** Why the first choice ended, as its last chunk said; null before that, and where it was cancelled. */
  get finishReason() { return this.#run.finishReason; }

  /** @returns {Status} Ends only once every chunk has been taken. */
  get status() { return this.#run.visibleStatus; }

  /** What it cost, from the server, at the end. Null where the end was not heard. */
  get usage() { return this.#run.waitingChunks === 0 ? this.#run.usage : null; }

  /** What it failed with. */
  get error() { return this.#run.waitingChunks === 0 ? this.#run.error : null; }

  /** How many chunks wait to be taken. */
  get waitingChunks() { return this.#run.waitingChunks; }

  /** End it. What was already made still comes, then the iterator ends, with the status `cancelled`. */
  cancel() { this.#run.askCancel(); }

  /** @returns {Promise<IteratorResult<Chunk, undefined>>} */
  next() { return this.#run.take(); }

  /** @returns {Promise<IteratorResult<Chunk, undefined>>} Called by a loop that is left early: cancels. */
  async return() {
    this.#run.abandon();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator]() { return this; }
}

/**
 * @typedef {object} Taker Somebody who waits for the next chunk.
 * @property {(result: IteratorResult<Chunk, undefined>) => void} resolve
 * @property {(error: ChannelError) => void} reject
 */

/**
 * The channel's side of a generation.
 *
 * `phase`: `queued` (not sent), `creating` and `resuming` (sent, not answered), `running`, `detached` (runs at the
 * server without us, can be resumed), `over`.
 */
export class Run {
  /** @type {"queued" | "creating" | "running" | "resuming" | "detached" | "over"} */
  phase = "queued";
  /** The name of the stream that it is on; a new one each time that it is sent. */
  streamId = "";
  /** The frame's `body`, as JSON; empty where it is only resumed. */
  body = "";
  /** @type {number | undefined} */
  graceS = undefined;
  /** How often its create was sent. */
  sends = 0;
  /** @type {string | null} */
  id = null;
  /** @type {string | null} */
  token = null;
  /** The last chunk that came. */
  receivedSeq = 0;
  /** Where a gap was last mended: twice at the same place is once too often. */
  mendedAt = -1;
  isCancelAsked = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  retryTimer = undefined;

  takenSeq = 0;
  text = "";
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

  /** Its end has been told to the reader, or will be after the chunks that wait. */
  get isOver() { return this.#status !== "waiting" && this.#status !== "running"; }

  /** @returns {Status} */
  get visibleStatus() { return this.isOver && this.#chunks.length > 0 ? "running" : this.#status; }

  // -- the channel's side --------------------------------------------------------------------------------------------

  /** The server has it. */
  admit() {
    if (this.#status === "waiting") this.#status = "running";
    this.onAdmitted();
  }

  /**
   * The next chunk. Its place in the sequence has been checked.
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
   * @param {ChannelError | null} error What the reader's loop throws in the end.
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

  /** The reader has left: nothing is kept for it any more. */
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
      this.finishReason = choice.finish_reason ?? this.finishReason;
    }
  }
}
