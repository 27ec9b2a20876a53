// Runs answers: asks, reads on after a lost connection or a reload, goes on where an answer was lost at the server, and
// saves the text together with the place in the stream that it belongs to. Does not know how anything is shown.

import { ChannelError } from "../../channel.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").Answer} Answer */
/** @typedef {import("../../channel.js").Generation} Generation */

/**
 * @typedef {object} Running
 * @property {Message} message
 * @property {AbortController} stop
 * @property {ReturnType<typeof setTimeout> | undefined} saveTimer
 * @property {boolean} isOurs Not deleted, nor read by another tab: it may be saved.
 */

/**
 * @typedef {object} Told
 * @property {(message: Message) => void} changed Its text or state is another.
 * @property {(message: Message) => Promise<Message[]>} history The turns before it.
 */

const GRACE_S = 3600; // The server cuts it to what it allows.
const SAVE_EVERY_MS = 250;
const BUSY_MS = 1000;
const MAX_FUTILE = 3;
/** An answer that nobody came back to for so long is not gone on with unasked. */
const MAX_ABSENCE_MS = 15 * 60_000;

/** Errors after which the generation is gone, though nothing was wrong with it: the text can be gone on with. */
const LOST = new Set(["completion_not_found", "chunks_gone", "chunks_missing", "connection_lost", "engine_died"]);
/** Errors after which the same can be asked again. */
const BUSY = new Set(["engine_not_ready", "queue_full", "too_many_streams", "too_many_connections"]);
/** The channel has ended: it is waited for another one. */
const CLOSED = new Set(["channel_closed", "invalid_api_key", "unreachable", "server_draining"]);

export class Answers {
  #connection;
  #store;
  #told;
  /** @type {Map<string, Running>} */
  #running = new Map();

  /**
   * @param {Connection} connection
   * @param {Store} store
   * @param {Told} told
   */
  constructor(connection, store, told) {
    this.#connection = connection;
    this.#store = store;
    this.#told = told;
    // What is written is written together with its place in the stream; so the later of two saves is only the better.
    addEventListener("pagehide", () => { for (const { message } of this.#running.values()) void this.#save(message); });
  }

  /** @param {string} id */
  isRunning(id) { return this.#running.has(id); }

  get running() { return [...this.#running.values()].map(({ message }) => message); }

  /**
   * Let an open answer come about: from its beginning, from where it is in the stream, or from the end of its text.
   * @param {Message} message
   */
  start(message) {
    if (this.#running.has(message.id)) return;
    const running = this.#begin(message);
    void exclusively(message.id, () => this.#run(running));
  }

  /** @param {string} id */
  stop(id) {
    this.#running.get(id)?.stop.abort();
  }

  /**
   * Stop it, and do not save it any more.
   * @param {string} id
   */
  discard(id) {
    const running = this.#running.get(id);
    if (running === undefined) return;
    running.isOurs = false;
    running.stop.abort();
  }

  /** Go on with what was open when the page was left; what another tab is reading is left to that. */
  async restore() {
    for (const { id } of await this.#store.openAnswers()) {
      void exclusively(id, async () => {
        const message = await this.#store.message(id);
        if (message?.answer?.state !== "open" || this.#running.has(id)) return;
        if (Date.now() - Math.max(message.answer.last, message.answer.sent) > MAX_ABSENCE_MS) {
          message.answer.state = "stopped";
          await this.#save(message);
          this.#told.changed(message);
          return;
        }
        message.answer.wasInterrupted = true;
        await this.#run(this.#begin(message));
      });
    }
  }

  // -- one answer ----------------------------------------------------------------------------------------------------

  /**
   * @param {Message} message
   * @returns {Running}
   */
  #begin(message) {
    const running = { message, stop: new AbortController(), saveTimer: undefined, isOurs: true };
    this.#running.set(message.id, running);
    this.#told.changed(message);
    return running;
  }

  /** @param {Running} running */
  async #run(running) {
    const { message, stop } = running;
    const answer = /** @type {Answer} */ (message.answer);
    let futile = 0;
    try {
      for (;;) {
        const length = message.text.length;
        try {
          await this.#connection.ready(stop.signal);
          await this.#read(running, answer);
          return;
        } catch (error) {
          if (stop.signal.aborted) return this.#end(answer, "stopped");
          futile = message.text.length > length ? 0 : futile + 1;
          if (!(await this.#mend(running, answer, error, futile))) return;
        }
      }
    } finally {
      clearTimeout(running.saveTimer);
      this.#running.delete(message.id);
      if (running.isOurs) await this.#save(message);
      this.#told.changed(message);
    }
  }

  /**
   * After an error: whether to try once more, and how.
   * @param {Running} running
   * @param {Answer} answer
   * @param {unknown} error
   * @param {number} futile Attempts in a row that brought no text.
   */
  async #mend(running, answer, error, futile) {
    const { signal } = running.stop;
    const code = error instanceof ChannelError ? error.code : "";
    if (code === "taken_over") {
      // By another tab, which saves it.
      running.isOurs = false;
      return false;
    }
    if (LOST.has(code) && answer.finish !== null) {
      // Only its end was not heard.
      this.#end(answer, "done");
      return false;
    }
    if (LOST.has(code) && futile <= MAX_FUTILE) {
      lose(answer);
      return true;
    }
    if (CLOSED.has(code)) {
      // A server that stops ends what runs; what it refused had not begun.
      if (code === "server_draining" && answer.cursor !== null) lose(answer);
      answer.wasInterrupted = true;
      this.#connection.doubt();
      return pause(BUSY_MS, signal);
    }
    if (BUSY.has(code)) {
      if (code === "engine_not_ready") this.#connection.doubt();
      const seconds = error instanceof ChannelError ? error.retryAfterS : undefined;
      return pause(Math.max(BUSY_MS, (seconds ?? 0) * 1000), signal);
    }
    this.#end(answer, "failed");
    answer.error = { code, message: error instanceof Error ? error.message : String(error) };
    return false;
  }

  /**
   * Read one generation to its end.
   * @param {Running} running
   * @param {Answer} answer
   */
  async #read(running, answer) {
    const { message, stop } = running;
    const generation = await this.#open(running, answer);
    if (generation.resumeToken === null) await generation.created;
    answer.cursor = { id: generation.id ?? "", token: generation.resumeToken ?? "", seq: generation.seq };
    // At once: a reload before this is done would ask once more, and leave this one running for its grace.
    void this.#save(message);
    for await (const chunk of generation) {
      const choice = chunk.choices[0];
      const text = choice?.delta.content ?? "";
      answer.cursor.seq = generation.seq;
      answer.finish = choice?.finish_reason ?? answer.finish;
      if (text === "") continue;
      message.text += text;
      answer.pieces += 1;
      answer.last = Date.now();
      if (answer.first === 0) answer.first = answer.last;
      this.#told.changed(message);
      running.saveTimer ??= setTimeout(() => {
        running.saveTimer = undefined;
        void this.#save(message);
      }, SAVE_EVERY_MS);
    }
    if (generation.usage !== null) count(answer, generation.usage.prompt_tokens, generation.usage.completion_tokens);
    this.#end(answer, generation.status === "cancelled" || stop.signal.aborted ? "stopped" : "done");
  }

  /**
   * @param {Running} running
   * @param {Answer} answer
   * @returns {Promise<Generation>}
   */
  async #open({ message, stop }, answer) {
    const { signal } = stop;
    if (answer.cursor !== null) {
      const { id, token, seq } = answer.cursor;
      return this.#connection.channel.resume({ id, resumeToken: token, startingAfter: seq, signal });
    }
    const { system, max_completion_tokens: limit, ...sampling } = answer.sampling;
    const turns = (await this.#told.history(message)).map(({ role, text }) => ({ role, content: text }));
    const messages = system ? [{ role: "system", content: system }, ...turns] : turns;
    /** @type {Record<string, unknown>} */
    const body = { model: answer.model, messages, ...sampling };
    if (message.text.trim() === "") message.text = "";
    else {
      messages.push({ role: "assistant", content: message.text });
      body.continue_final_message = true;
    }
    if (limit !== undefined) body.max_completion_tokens = Math.max(1, limit - (answer.pieces - answer.limitBase));
    if (answer.sent === 0) answer.sent = Date.now();
    answer.finish = null;
    return this.#connection.channel.create(body, { resumeGrace: GRACE_S, signal });
  }

  /**
   * @param {Answer} answer
   * @param {"done" | "stopped" | "failed"} state
   */
  #end(answer, state) {
    answer.state = state;
    answer.cursor = null;
  }

  /** @param {Message} message */
  async #save(message) {
    try {
      await this.#store.save([], [message]);
    } catch (error) {
      console.warn("An answer could not be saved:", error);
    }
  }
}

/**
 * Its generation is gone, with the count of its tokens; what is there can be gone on with.
 * @param {Answer} answer
 */
function lose(answer) {
  count(answer, 0, answer.pieces - answer.counted);
  answer.cursor = null;
  answer.restarts += 1;
  answer.wasInterrupted = true;
}

/**
 * @param {Answer} answer
 * @param {number} prompt
 * @param {number} completion
 */
function count(answer, prompt, completion) {
  const known = answer.usage ?? { prompt: 0, completion: 0 };
  answer.usage = { prompt: known.prompt || prompt, completion: known.completion + completion };
  answer.counted = answer.pieces;
}

/**
 * Do it in one tab at a time. Where a browser has no locks, pages that came over plain HTTP from another machine, it is
 * done at once; then the server lets the later reader have the generation.
 * @param {string} id
 * @param {() => Promise<void>} action
 */
async function exclusively(id, action) {
  if (navigator.locks === undefined) return action();
  return navigator.locks.request(`twowire-answer-${id}`, action);
}

/**
 * Resolves to whether it was not aborted.
 * @param {number} delayMs
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>}
 */
function pause(delayMs, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, delayMs);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve(true);
    }
    signal.addEventListener("abort", done);
  });
}
