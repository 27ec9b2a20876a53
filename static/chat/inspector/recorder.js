// Picks the frames of one generation from all on the socket: the last that was begun.

import { Recording } from "./recording.js";

/** @typedef {import("../../channel/connection.js").Frame} Frame */

/**
 * @typedef {object} Callbacks
 * @property {(recording: Recording) => void} begun
 * @property {(recording: Recording, followToken: string) => void} known Its id is known, and how to follow it: empty if
 *   the server has not said so here.
 * @property {() => void} changed
 */

export class Recorder {
  #callbacks;
  /** @type {Recording | null} */
  recording = null;

  /** @param {Callbacks} callbacks */
  constructor(callbacks) {
    this.#callbacks = callbacks;
  }

  /**
   * A frame on the socket.
   * @param {"sent" | "received"} direction
   * @param {string} text
   */
  add(direction, text) {
    /** @type {Frame} */
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    const recording = direction === "sent" ? this.#forSent(frame) : this.#forReceived(frame);
    if (recording === null) return;
    recording.addFrame(direction, text, frame);
    if (frame.type === "chat.completion.created") this.#know(recording, frame.id, frame.follow_token);
    this.#callbacks.changed();
  }

  /** The connection was lost. */
  addLoss() {
    this.recording?.addLoss();
    this.#callbacks.changed();
  }

  /** @param {Frame} frame */
  #forSent(frame) {
    const { recording } = this;
    if (frame.type === "chat.completion.create") {
      const begun = this.#begin(frame.stream_id);
      begun.body = frame.body;
      return begun;
    }
    if (frame.type === "chat.completion.resume" || frame.type === "chat.completion.follow") {
      if (recording !== null && recording.id === frame.id) {
        recording.streamId = frame.stream_id;
        return recording;
      }
      return this.#isFree ? this.#know(this.#begin(frame.stream_id, frame.starting_after), frame.id) : null;
    }
    return frame.stream_id !== undefined && frame.stream_id === recording?.streamId ? recording : null;
  }

  /** @param {Frame} frame */
  #forReceived(frame) {
    const { recording } = this;
    if (frame.type === "connection.ready") return this.#isFree ? null : recording;
    if (frame.stream_id !== undefined && frame.stream_id === recording?.streamId) return recording;
    // It began before anybody looked.
    if (frame.type !== "chat.completion.chunk" || !this.#isFree) return null;
    return this.#know(this.#begin(frame.stream_id, frame.seq - 1), frame.data?.id ?? "");
  }

  get #isFree() { return this.recording === null || this.recording.isOver; }

  /**
   * @param {string} streamId
   * @param {number} [startingAfter]
   */
  #begin(streamId, startingAfter = 0) {
    this.recording = new Recording(streamId);
    this.recording.startingAfter = startingAfter;
    this.#callbacks.begun(this.recording);
    return this.recording;
  }

  /**
   * @param {Recording} recording
   * @param {string} id
   * @param {string} [followToken]
   */
  #know(recording, id, followToken = "") {
    recording.id = id;
    this.#callbacks.known(recording, followToken);
    return recording;
  }
}
