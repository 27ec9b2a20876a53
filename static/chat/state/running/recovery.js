// Decides what to do about an answer whose generation failed: continue it, wait and try again, or give up.

/** @typedef {import("../../types.js").Answer} Answer */

const MAX_FUTILE = 3;

/** The generation is gone, but nothing was wrong with it: the answer can be continued from its text. */
const LOST = new Set(["completion_not_found", "chunks_gone", "chunks_missing", "connection_lost", "engine_died"]);
/** The same request may succeed later. */
const BUSY = new Set(["engine_not_ready", "queue_full", "too_many_streams", "too_many_connections"]);
/** The channel has ended: wait for another one. */
const CLOSED = new Set(["channel_closed", "invalid_api_key", "unreachable", "server_draining"]);

/**
 * @typedef {"leave" | "done" | "continue" | "reconnect" | "wait" | "fail"} Recovery
 *   `leave`: another tab reads and saves it. `done`: only its end was lost. `continue`: ask for the rest at once.
 *   `reconnect`: when there is a connection again. `wait`: when the server has room or is ready.
 */

/**
 * @param {string} code The error's code; empty for errors that are not the channel's.
 * @param {Answer} answer
 * @param {number} futile Attempts in a row that brought no text.
 * @returns {Recovery}
 */
export function recoveryFrom(code, answer, futile) {
  if (code === "taken_over") return "leave";
  if (LOST.has(code) && answer.finish !== null) return "done";
  if (LOST.has(code) && futile <= MAX_FUTILE) return "continue";
  if (CLOSED.has(code)) return "reconnect";
  if (BUSY.has(code)) return "wait";
  return "fail";
}

/**
 * Its generation is gone, and with it the count of its tokens; its text stays and can be continued.
 * @param {Answer} answer
 */
export function loseGeneration(answer) {
  addUsage(answer, 0, answer.pieces - answer.counted);
  answer.cursor = null;
  answer.restarts += 1;
  answer.wasInterrupted = true;
}

/**
 * @param {Answer} answer
 * @param {number} prompt
 * @param {number} completion
 */
export function addUsage(answer, prompt, completion) {
  const known = answer.usage ?? { prompt: 0, completion: 0 };
  answer.usage = { prompt: known.prompt || prompt, completion: known.completion + completion };
  answer.counted = answer.pieces;
}
