// The generations of a channel, and the frames that are theirs, on one connection after another.
// Does not know how a connection comes about: `channel.js` says when there is one (`begin`) and when not (`unplug`).

import { ChannelError, Run } from "./generation.js";

/** @typedef {import("./connection.js").Ending} Ending */
/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./connection.js").Limits} Limits */
/** @typedef {import("./connection.js").Link} Link */

/**
 * @typedef {object} Told
 * @property {(problem: ChannelError) => void} problem Something is wrong that belongs to no generation, or was mended.
 * @property {(counts: { resumed: number, lost: number }) => void} resumed No generation is still to be resumed.
 */

const MAX_SENDS = 3;
const CANCEL_EVENT = "cancel-";
const TOO_BIG = 1009;

export class Streams {
  #told;
  /** @type {Link | undefined} */
  #link;
  /** @type {Limits} */
  #limits = {};
  /** All that have not had their terminal frame. @type {Set<Run>} */
  #runs = new Set();
  /** Those that this connection serves. @type {Map<string, Run>} */
  #streams = new Map();
  /** Streams of this connection that nobody reads any more, until their terminal frame. @type {Set<string>} */
  #retired = new Set();
  #lastStream = 0;
  #resumed = 0;
  #lost = 0;

  /** @param {Told} told */
  constructor(told) {
    this.#told = told;
  }

  /**
   * One generation more, sent now or by `begin`.
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

  /**
   * There is a connection: resume and send what waits for one.
   * @param {Link} link
   * @param {Limits} limits
   */
  begin(link, limits) {
    this.#link = link;
    this.#limits = limits;
    // What was there first goes first.
    const runs = [...this.#runs];
    for (const run of runs) if (run.phase === "detached") this.#send(run);
    for (const run of runs) if (run.phase === "queued") this.#send(run);
  }

  /**
   * The connection is gone.
   * @param {Ending} ending
   */
  unplug(ending) {
    this.#link = undefined;
    this.#streams.clear();
    this.#retired.clear();
    for (const run of [...this.#runs]) this.#strand(run, ending);
  }

  /**
   * No connection will come any more.
   * @param {ChannelError} error
   */
  end(error) {
    this.#link = undefined;
    for (const run of [...this.#runs]) this.#finish(run, "failed", null, error);
  }

  /**
   * What becomes of a run whose connection is gone.
   * @param {Run} run
   * @param {Ending} ending
   */
  #strand(run, ending) {
    clearTimeout(run.retryTimer);
    if (run.phase === "queued" || run.phase === "detached") return;
    if (run.token !== null) {
      run.phase = "detached";
    } else if (run.isCancelAsked) {
      // Its socket's end has cancelled it at the server.
      this.#finish(run, "cancelled");
    } else if (run.phase === "creating" && ending.code !== TOO_BIG && run.sends < MAX_SENDS) {
      run.phase = "queued";
    } else {
      const what = run.phase === "creating" ? "could not be sent" : "lost its connection and cannot be resumed";
      const more = { closeCode: ending.code, cause: ending.error };
      const lost = new ChannelError("connection_lost", `The generation ${what}: ${ending.reason}`, more);
      this.#finish(run, "failed", null, run.error ?? lost);
    }
  }

  // -- sending -------------------------------------------------------------------------------------------------------

  /** @param {Run} run */
  #send(run) {
    if (run.phase === "queued") this.#sendCreate(run);
    else if (run.phase === "detached") this.#sendResume(run);
  }

  /** @param {Run} run */
  #sendCreate(run) {
    const streamId = this.#stream(run);
    const resume = run.graceS === undefined ? "" : `,"resume":${JSON.stringify({ grace_s: run.graceS })}`;
    const head = `{"type":"chat.completion.create","stream_id":"${streamId}","event_id":"${streamId}"`;
    const frame = `${head}${resume},"body":${run.body}}`;
    const limit = this.#limits.max_message_bytes ?? Number.POSITIVE_INFINITY;
    // Sent, it would end the connection for all. A character is at most three bytes of UTF-8 here.
    const size = frame.length * 3 > limit ? new TextEncoder().encode(frame).length : 0;
    if (size > limit) {
      this.#streams.delete(streamId);
      const message = `The message has ${size} bytes; the server takes ${limit}.`;
      this.#finish(run, "failed", null, new ChannelError("request_too_large", message, { status: 413 }));
      return;
    }
    run.phase = "creating";
    run.sends += 1;
    this.#link?.send(frame);
  }

  /** @param {Run} run */
  #sendResume(run) {
    run.phase = "resuming";
    const stream_id = this.#stream(run);
    const from = { id: run.id, resume_token: run.token, starting_after: run.receivedSeq };
    this.#link?.send(JSON.stringify({ type: "chat.completion.resume", stream_id, event_id: stream_id, ...from }));
  }

  /** @param {Run} run */
  #stream(run) {
    // Never the same one twice: what is late for the old one cannot be taken for the new one's.
    this.#lastStream += 1;
    run.streamId = `s${this.#lastStream}`;
    this.#streams.set(run.streamId, run);
    return run.streamId;
  }

  /** @param {string} stream_id */
  #sendCancel(stream_id) {
    this.#link?.send(JSON.stringify({ type: "chat.completion.cancel", stream_id, event_id: CANCEL_EVENT + stream_id }));
  }

  /** @param {Run} run */
  #cancel(run) {
    if (run.phase === "creating" || run.phase === "running") this.#sendCancel(run.streamId);
    else if (run.phase === "queued") this.#finish(run, "cancelled");
    // Its reader need not wait for the connection; the server is told when there is one.
    else if (run.phase === "detached") run.finish("cancelled", null);
    // One that is being resumed is cancelled when the server has answered.
  }

  // -- receiving -----------------------------------------------------------------------------------------------------

  /** @param {Frame} frame */
  dispatch(frame) {
    if (frame.type === "error" && String(frame.event_id).startsWith(CANCEL_EVENT)) {
      // It ended while the cancel was under way, and has said so: that is no error.
      if (frame.error?.code !== "stream_not_found") this.#report(frame);
      return;
    }
    if (this.#retired.has(frame.stream_id)) {
      const { type } = frame;
      const isTerminal = type === "chat.completion.done" || (type === "error" && frame.error?.code === "taken_over");
      if (isTerminal) this.#retired.delete(frame.stream_id);
      return;
    }
    const run = this.#streams.get(frame.stream_id);
    if (run !== undefined) this.#dispatchTo(run, frame);
    else if (frame.type === "error") this.#report(frame);
    else if (frame.stream_id !== undefined) this.#problem(`a frame of the unknown stream ${frame.stream_id} came`);
    // Other types are of a later version of the protocol, which asks that they be ignored.
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
      if (isResumed && run.isCancelAsked) this.#sendCancel(run.streamId);
      run.admit();
      if (isResumed && !run.isOver) this.#resumed += 1;
      this.#tellResumed();
    }
  }

  /**
   * @param {Run} run
   * @param {Frame} frame
   */
  #chunk(run, frame) {
    if (frame.seq === run.receivedSeq + 1) run.receive(frame.seq, frame.data);
    else if (frame.seq > run.receivedSeq) this.#mend(run, frame.seq - 1, true);
    else this.#problem(`chunk ${frame.seq} of ${run.id} came twice; the second was left out`);
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
   * Chunks are missing before `last`: ask for them again, if they can be had.
   * @param {Run} run
   * @param {number} last
   * @param {boolean} isRunning
   */
  #mend(run, last, isRunning) {
    const { streamId } = run;
    const message = `chunks ${run.receivedSeq + 1} to ${last} of ${run.id} did not come`;
    this.#streams.delete(streamId);
    if (isRunning) this.#retired.add(streamId);
    if (run.token !== null && run.mendedAt !== run.receivedSeq) {
      this.#problem(`${message}; they are asked for again`);
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
      // `done` follows.
      run.error = error;
      return;
    }
    if (run.phase === "resuming" && (error.status === 503 || error.status === 429)) {
      // It is still there; the server is busy or stops. If nothing helps, it will be a 404 one day.
      run.phase = "detached";
      this.#streams.delete(run.streamId);
      run.retryTimer = setTimeout(() => this.#sendResume(run), 1000 * (error.retryAfterS ?? 1) * (1 + Math.random()));
      return;
    }
    if (run.phase === "resuming" && !run.isOver) this.#lost += 1;
    this.#finish(run, "failed", null, error);
    this.#tellResumed();
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

  // -- telling -------------------------------------------------------------------------------------------------------

  /** Once no run is still to be resumed. */
  #tellResumed() {
    if (this.#resumed + this.#lost === 0) return;
    for (const { phase } of this.#runs) if (phase === "detached" || phase === "resuming") return;
    const counts = { resumed: this.#resumed, lost: this.#lost };
    this.#resumed = this.#lost = 0;
    if (counts.resumed > 0) this.#told.resumed(counts);
  }

  /** @param {Frame} frame An error that is nobody's. */
  #report(frame) {
    this.#told.problem(ChannelError.fromServer(frame.error, frame.status, frame.retry_after_s));
  }

  /** @param {string} what */
  #problem(what) {
    this.#told.problem(new ChannelError("protocol_error", `On the channel, ${what}.`));
  }
}
