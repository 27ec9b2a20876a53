// Runs answers: asks for them, resumes them after a lost connection or a reload, and continues those that the server
// lost. Saves an answer's text together with its position in the stream.

import { ChannelError } from "../../../channel.js";
import { addUsage, loseGeneration, recoveryFrom } from "./recovery.js";
import { Growth, requestFor } from "./request.js";
import { exclusively } from "./tabs.js";

/** @typedef {import("../connection.js").Connection} Connection */
/** @typedef {import("../store.js").Store} Store */
/** @typedef {import("../../types.js").Message} Message */
/** @typedef {import("../../types.js").Answer} Answer */
/** @typedef {import("../../../channel.js").Generation} Generation */

/**
 * @typedef {object} Running
 * @property {Message} message
 * @property {AbortController} stop
 * @property {ReturnType<typeof setTimeout> | undefined} saveTimer
 * @property {boolean} isOurs Whether to save it: false once it is deleted, or read by another tab.
 */

/**
 * @typedef {object} Callbacks
 * @property {(message: Message) => void} changed Its text or state changed.
 * @property {(message: Message) => void} started It is saved with its position in the stream: others can follow it.
 * @property {(message: Message) => Promise<Message[]>} history The turns before it.
 */

const GRACE_S = 3600; // The server lowers it to its maximum.
const SAVE_EVERY_MS = 250;
const BUSY_MS = 1000;
/** After so long an absence, an unfinished answer is not continued automatically. */
const MAX_ABSENCE_MS = 15 * 60_000;

export class Answers {
  #connection;
  #store;
  #callbacks;
  /** @type {Map<string, Running>} */
  #running = new Map();
  /** Answers that this tab receives once the tab that does so now is gone. @type {Set<string>} */
  #awaited = new Set();

  /**
   * @param {Connection} connection
   * @param {Store} store
   * @param {Callbacks} callbacks
   */
  constructor(connection, store, callbacks) {
    this.#connection = connection;
    this.#store = store;
    this.#callbacks = callbacks;
    // Each save holds the text with its position in the stream, so a later one always wins.
    addEventListener("pagehide", () => { for (const { message } of this.#running.values()) void this.#save(message); });
  }

  /** @param {string} id */
  isRunning(id) { return this.#running.has(id); }

  get running() { return [...this.#running.values()].map(({ message }) => message); }

  /**
   * Run an open answer: from its beginning, from its position in the stream, or from the end of its text.
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
   * Stop it, and no longer save it.
   * @param {string} id
   */
  discard(id) {
    const running = this.#running.get(id);
    if (running === undefined) return;
    running.isOurs = false;
    running.stop.abort();
  }

  /** Resume the answers that were running when the page was left, unless another tab reads them. */
  async restore() {
    for (const { id } of await this.#store.openAnswers()) this.adopt(id);
  }

  /** Receive this open answer as soon as no other tab does. @param {string} id */
  adopt(id) {
    if (this.#awaited.has(id) || this.#running.has(id)) return;
    this.#awaited.add(id);
    void exclusively(id, async () => {
      this.#awaited.delete(id);
      const message = await this.#store.message(id);
      if (message?.answer?.state !== "open" || this.#running.has(id)) return;
      if (Date.now() - Math.max(message.answer.last, message.answer.sent) > MAX_ABSENCE_MS) {
        message.answer.state = "stopped";
        await this.#save(message);
        this.#callbacks.changed(message);
        return;
      }
      message.answer.wasInterrupted = true;
      await this.#run(this.#begin(message));
    });
  }

  // -- one answer ----------------------------------------------------------------------------------------------------

  /**
   * @param {Message} message
   * @returns {Running}
   */
  #begin(message) {
    const running = { message, stop: new AbortController(), saveTimer: undefined, isOurs: true };
    this.#running.set(message.id, running);
    this.#callbacks.changed(message);
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
      this.#callbacks.changed(message);
    }
  }

  /**
   * Recover from an error; resolves to whether to try again.
   * @param {Running} running
   * @param {Answer} answer
   * @param {unknown} error
   * @param {number} futile Attempts in a row that brought no text.
   */
  async #mend(running, answer, error, futile) {
    const { signal } = running.stop;
    const code = error instanceof ChannelError ? error.code : "";
    switch (recoveryFrom(code, answer, futile)) {
      case "leave":
        running.isOurs = false;
        return false;
      case "done":
        this.#end(answer, "done");
        return false;
      case "continue":
        loseGeneration(answer);
        return true;
      case "reconnect":
        // A stopping server ends what is running; what it refused had not started.
        if (code === "server_draining" && answer.cursor !== null) loseGeneration(answer);
        answer.wasInterrupted = true;
        this.#connection.doubt();
        return pause(BUSY_MS, signal);
      case "wait": {
        if (code === "engine_not_ready") this.#connection.doubt();
        const seconds = error instanceof ChannelError ? error.retryAfterS : undefined;
        return pause(Math.max(BUSY_MS, (seconds ?? 0) * 1000), signal);
      }
      default:
        this.#end(answer, "failed");
        answer.error = { code, message: error instanceof Error ? error.message : String(error) };
        return false;
    }
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
    const follow = generation.followToken ?? answer.cursor?.follow;
    answer.cursor = { id: generation.id ?? "", token: generation.resumeToken ?? "", seq: generation.seq, follow };
    // Save at once: after a reload without it, the page would ask again and leave this generation running.
    void this.#save(message).then(() => this.#callbacks.started(message));
    const growth = new Growth(message, answer);
    for await (const chunk of generation) {
      const choice = chunk.choices[0];
      answer.cursor.seq = generation.seq;
      answer.finish = choice?.finish_reason ?? answer.finish;
      if (choice === undefined || !growth.add(choice.delta, Date.now())) continue;
      this.#callbacks.changed(message);
      running.saveTimer ??= setTimeout(() => {
        running.saveTimer = undefined;
        void this.#save(message);
      }, SAVE_EVERY_MS);
    }
    const { usage } = generation;
    if (usage !== null) addUsage(answer, usage.prompt_tokens, usage.completion_tokens);
    if (answer.thoughts) answer.thoughts.tokens = usage?.completion_tokens_details?.reasoning_tokens;
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
    const body = requestFor(message, answer, await this.#callbacks.history(message));
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
 * Wait; resolves to true, even if `signal` aborts.
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
