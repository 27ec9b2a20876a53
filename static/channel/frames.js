// The frames that a channel sends for its generations, and what its answers to them mean. Specified in
// docs/websocket.md.

/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./generation.js").Run} Run */

const CANCEL_EVENT = "cancel-";

/**
 * A create. The run's body is already JSON, so it is put in as it is.
 * @param {Run} run
 * @param {string} streamId
 */
export function createFrame(run, streamId) {
  const resume = run.graceS === undefined ? "" : `,"resume":${JSON.stringify({ grace_s: run.graceS })}`;
  const head = `{"type":"chat.completion.create","stream_id":"${streamId}","event_id":"${streamId}"`;
  return `${head}${resume},"body":${run.body}}`;
}

/**
 * A resume or, of a follower, a follow.
 * @param {Run} run
 * @param {string} stream_id
 */
export function resumeFrame(run, stream_id) {
  const type = run.isFollower ? "chat.completion.follow" : "chat.completion.resume";
  const token = run.isFollower ? { follow_token: run.token } : { resume_token: run.token };
  const from = { id: run.id, ...token, starting_after: run.receivedSeq };
  return JSON.stringify({ type, stream_id, event_id: stream_id, ...from });
}

/** @param {string} stream_id */
export function cancelFrame(stream_id) {
  return JSON.stringify({ type: "chat.completion.cancel", stream_id, event_id: CANCEL_EVENT + stream_id });
}

/** @param {Frame} frame */
export function refusesCancel(frame) {
  return frame.type === "error" && String(frame.event_id).startsWith(CANCEL_EVENT);
}

/**
 * Whether no frame of the same stream follows this one.
 * @param {Frame} frame
 */
export function isTerminal({ type, error }) {
  return type === "chat.completion.done" || (type === "error" && error?.code === "taken_over");
}

/**
 * Finds frames that the server would close the connection for.
 * @param {string} frame
 * @param {number} limit
 * @returns {number} The frame's size in bytes where it is above `limit`, otherwise 0.
 */
export function oversize(frame, limit) {
  // A UTF-16 unit is at most three bytes of UTF-8, so most frames need no encoding here.
  if (frame.length * 3 <= limit) return 0;
  const size = new TextEncoder().encode(frame).length;
  return size > limit ? size : 0;
}
