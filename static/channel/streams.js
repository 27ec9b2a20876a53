// A channel's generations: sends them, dispatches frames to them, and resumes them on the next connection.

import { ChannelError, connectionLost } from "./errors.js";
import { cancelFrame, createFrame, isTerminal, oversize, refusesCancel, resumeFrame } from "./frames.js";
import { ResumeCount } from "./resume-count.js";

/** @typedef {import("./connection.js").Ending} Ending */
/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./connection.js").Limits} Limits */
/** @typedef {import("./generation.js").Run} Run */
/** @typedef {{ send: (frame: string) => void }} Link */

/**
 * @typedef {object} Callbacks
 * @property {(problem: ChannelError) => void} problem A problem of no generation, or one that was repaired.
 * @property {(counts: { resumed: number, lost: number }) => void} resumed All generations have been resumed or lost.
 */

const MAX_SENDS = 3;
const TOO_BIG = 1009;

export class Streams {
  #callbacks;
  /** @type {Link | undefined} */
  #link;
  /** @type {Limits} */
  #limits = {};
  /** Generations without a terminal frame yet. @type {Set<Run>} */
  #runs = new Set();
  /** Generations by their stream on this connection. @type {Map<string, Run>} */
  #streams = new Map();
  /** Streams of this connection without a reader, until their terminal frame. @type {Set<string>} */
  #retired = new Set();
  #lastStream = 0;
  #count = new ResumeCount();

  /** @param {Callbacks} callbacks */
  constructor(callbacks) {
    this.#callbacks = callbacks;
  }

  /**
   * Add a generation. It is sent now or by `begin`.
   * @param {Run} run
   * @param {AbortSignal | undefined} signal
   */
  add(run, signal) {
    const abort = () => run.askCancel();
    run.onCancel = () => this.#cancel(run);
    run.onOver = () => signal?.removeEventListener("abort", abort);
    this.#runs.add(run);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort);
    if (this.#link !== undefined) this.#send(run);
  }

  /** Whether no generation would be lost with this connection, nor created twice. */
  get canMove() {
    return [...this.#runs].every(({ phase, token }) => phase !== "creating" && (phase !== "running" || token !== null));
  }

  /**
   * Use a new connection: resume and send what was waiting for it.
   * @param {Link} link
   * @param {Limits} limits
   */
  begin(link, limits) {
    this.#link = link;
    this.#limits = limits;
    // In the order in which they were added.
    const runs = [...this.#runs];
    for (const run of runs) if (run.phase === "detached") this.#send(run);
    for (const run of runs) if (run.phase === "queued") this.#send(run);
  }

  /**
   * The connection was lost.
   * @param {Ending} ending
   */
  unplug(ending) {
    this.#link = undefined;
    this.#streams.clear();
    this.#retired.clear();
    for (const run of [...this.#runs]) this.#strand(run, ending);
  }

  /**
   * The channel is closed: fail what is left.
   * @param {ChannelError} error
   */
  end(error) {
    this.#link = undefined;
    for (const run of [...this.#runs]) this.#finish(run, "failed", null, error);
  }

  /**
   * Detach, requeue or end a run whose connection was lost.
   * @param {Run} run
   * @param {Ending} ending
   */
  #strand(run, ending) {
    clearTimeout(run.retryTimer);
    if (run.phase === "queued" || run.phase === "detached") return;
    if (run.token !== null) {
      run.phase = "detached";
    } else if (run.isCancelAsked) {
      // The server cancelled it when the socket closed.
      this.#finish(run, "cancelled");
    } else if (run.phase === "creating" && ending.code !== TOO_BIG && run.sends < MAX_SENDS) {
      run.phase = "queued";
    } else {
      this.#finish(run, "failed", null, run.error ?? connectionLost(run.phase !== "creating", ending));
    }
  }

  /** @param {Run} run */
  #send(run) {
    if (run.phase === "queued") this.#sendCreate(run);
    else if (run.phase === "detached") this.#sendResume(run);
  }

  /** @param {Run} run */
  #sendCreate(run) {
    const streamId = this.#stream(run);
    const frame = createFrame(run, streamId);
    const limit = this.#limits.max_message_bytes ?? Number.POSITIVE_INFINITY;
    const size = oversize(frame, limit);
    if (size > 0) {
      this.#streams.delete(streamId);
      const message = `The message has ${size} bytes; the server takes ${limit}.`;
      return this.#finish(run, "failed", null, new ChannelError("request_too_large", message, { status: 413 }));
    }
    run.phase = "creating";
    run.sends += 1;
    this.#link?.send(frame);
  }

  /** @param {Run} run */
  #sendResume(run) {
    run.phase = "resuming";
    this.#link?.send(resumeFrame(run, this.#stream(run)));
  }

  /** @param {Run} run */
  #stream(run) {
    // Names are never reused, so that a late frame for an old stream cannot reach a new one.
    this.#lastStream += 1;
    run.streamId = `s${this.#lastStream}`;
    this.#streams.set(run.streamId, run);
    return run.streamId;
  }

  /** @param {string} streamId */
  #sendCancel(streamId) { this.#link?.send(cancelFrame(streamId)); }

  /** @param {Run} run */
  #cancel(run) {
    if (run.phase === "creating" || run.phase === "running") this.#sendCancel(run.streamId);
    else if (run.phase === "queued") this.#finish(run, "cancelled");
    // Its reader need not wait for a connection; the server is told once there is one.
    else if (run.phase === "detached") run.finish("cancelled", null);
    // A run that is being resumed is cancelled when the server has answered.
  }

  // -- receiving -----------------------------------------------------------------------------------------------------

  /** @param {Frame} frame */
  dispatch(frame) {
    if (refusesCancel(frame)) {
      // The stream ended before the cancel arrived: no error.
      if (frame.error?.code !== "stream_not_found") this.#report(frame);
      return;
    }
    if (this.#retired.has(frame.stream_id)) {
      if (isTerminal(frame)) this.#retired.delete(frame.stream_id);
      return;
    }
    const run = this.#streams.get(frame.stream_id);
    if (run !== undefined) this.#dispatchTo(run, frame);
    else if (frame.type === "error") this.#report(frame);
    else if (frame.stream_id !== undefined) this.#problem(`a frame arrived for the unknown stream ${frame.stream_id}`);
    // Other types belong to later versions of the protocol, which asks clients to ignore them.
  }

  /**
   * @param {Run} run
   * @param {Frame} frame
   */
  #dispatchTo(run, frame) {
    if (frame.type === "chat.completion.chunk") {
      this.#chunk(run, frame);
    } else if (frame.type === "chat.completion.done") {
      this.#done(run, frame);
    } else if (frame.type === "error") {
      this.#error(run, frame);
    } else if (frame.type === "chat.completion.created" || frame.type === "chat.completion.resumed") {
      const isResumed = run.phase === "resuming";
      run.phase = "running";
      run.id = frame.id ?? run.id;
      run.token = frame.resume_token ?? run.token;
      run.followToken = frame.follow_token ?? run.followToken;
      if (isResumed && run.isCancelAsked) this.#sendCancel(run.streamId);
      run.admit();
      if (isResumed && !run.isOver) this.#count.resumed += 1;
      this.#reportResumed();
    }
  }

  /**
   * @param {Run} run
   * @param {Frame} frame
   */
  #chunk(run, frame) {
    if (frame.seq === run.receivedSeq + 1) run.receive(frame.seq, frame.data);
    else if (frame.seq > run.receivedSeq) this.#mend(run, frame.seq - 1, true);
    else this.#problem(`chunk ${frame.seq} of ${run.id} arrived twice; the second was dropped`);
  }

  /**
   * @param {Run} run
   * @param {Frame} frame
   */
  #done(run, frame) {
    if (frame.seq > run.receivedSeq) return this.#mend(run, frame.seq, false);
    this.#finish(run, frame.status, frame.usage ?? null, run.error);
  }

  /**
   * Chunks up to `last` are missing: ask for them again if the generation can be resumed.
   * @param {Run} run
   * @param {number} last
   * @param {boolean} isRunning
   */
  #mend(run, last, isRunning) {
    const { streamId } = run;
    const message = `chunks ${run.receivedSeq + 1} to ${last} of ${run.id} are missing`;
    this.#streams.delete(streamId);
    if (isRunning) this.#retired.add(streamId);
    if (run.token !== null && run.mendedAt !== run.receivedSeq) {
      this.#problem(`${message} and were requested again`);
      run.mendedAt = run.receivedSeq;
      this.#sendResume(run);
      return;
    }
    if (isRunning) this.#sendCancel(streamId);
    this.#finish(run, "failed", null, new ChannelError("chunks_missing", `The generation has a gap: ${message}.`));
  }

  /**
   * @param {Run} run
   * @param {Frame} frame
   */
  #error(run, frame) {
    const error = ChannelError.fromServer(frame.error, frame.status, frame.retry_after_s);
    if (run.phase === "running" && error.code !== "taken_over") {
      run.error = error; // `done` follows.
      return;
    }
    if (run.phase === "resuming" && (error.status === 503 || error.status === 429)) {
      // The generation still exists; the server is busy or stopping. Once it is gone, the server answers 404.
      run.phase = "detached";
      this.#streams.delete(run.streamId);
      run.retryTimer = setTimeout(() => this.#sendResume(run), 1000 * (error.retryAfterS ?? 1) * (1 + Math.random()));
      return;
    }
    if (run.phase === "resuming" && !run.isOver) this.#count.lost += 1;
    this.#finish(run, "failed", null, error);
    this.#reportResumed();
  }

  /**
   * @param {Run} run
   * @param {"completed" | "cancelled" | "failed"} status
   * @param {import("./generation.js").Usage | null} [usage]
   * @param {ChannelError | null} [error]
   */
  #finish(run, status, usage = null, error = null) {
    clearTimeout(run.retryTimer);
    run.phase = "over";
    this.#runs.delete(run);
    this.#streams.delete(run.streamId);
    run.finish(status, usage, error);
  }

  #reportResumed() {
    const counts = this.#count.take(this.#runs);
    if (counts !== null && counts.resumed > 0) this.#callbacks.resumed(counts);
  }

  /** @param {Frame} frame An error that belongs to no stream. */
  #report(frame) {
    this.#callbacks.problem(ChannelError.fromServer(frame.error, frame.status, frame.retry_after_s));
  }

  /** @param {string} what */
  #problem(what) {
    this.#callbacks.problem(new ChannelError("protocol_error", `On the channel, ${what}.`));
  }
}
