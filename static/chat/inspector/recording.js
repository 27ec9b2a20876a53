// What one generation sent over both wires: the socket's frames and the server-sent events, side by side by chunk.

/**
 * @typedef {object} Piece What came on one wire.
 * @property {string} text As it came; the beginning of it, if it is long.
 * @property {boolean} isCut Whether it goes on.
 * @property {number} bytes The size of all of it.
 * @property {number} at Milliseconds since the recording began.
 */

/**
 * @typedef {object} Row A chunk on both wires, another frame, or the loss of the connection.
 * @property {number} number From 1, in the order in which the rows appeared.
 * @property {number} seq The chunk's; 0 for what is not a chunk.
 * @property {"sent" | "received" | "lost"} kind
 * @property {string} label What it is and, of a chunk, what it brings; of a loss, the last chunk before it.
 * @property {Piece} [frame]
 * @property {Piece} [event]
 * @property {boolean} isReplayed Whether the chunk was made while there was no connection.
 * @property {boolean} [isSame] Whether the chunk has the same bytes on both wires.
 */

/** @typedef {{ pieces: number, bytes: number }} Total */

export const MAX_ROWS = 2000;
const MAX_CHARS = 8_000_000;
const MAX_SHOWN_CHARS = 64_000;
const DATA = '"data":';
const encoder = new TextEncoder();

export class Recording {
  /** The oldest are dropped. @type {Row[]} */
  rows = [];
  /** Rows that changed since `takeChanges`. @type {Set<Row>} */
  #changed = new Set();
  /** @type {Row[]} */
  #dropped = [];
  /** @type {Map<number, Row>} */
  #bySeq = new Map();
  /** The chunks that came on one wire and not yet on the other. @type {Map<number, string>} */
  #unmatched = new Map();
  #began = performance.now();
  #chars = 0;
  #count = 0;
  #replayedTo = 0;
  #droppedTo = 0;
  /** Whether the server has accepted it on this connection. */
  #isRunning = false;

  /** The completion's id; empty until it is known. */
  id = "";
  /** The request's body; null if it was sent before the recording began. @type {object | null} */
  body = null;
  /** The last chunk before the recording. */
  startingAfter = 0;
  /** The last chunk that came over the socket. */
  lastSeq = 0;
  isOver = false;
  same = 0;
  different = 0;
  /** @type {Total} */
  frames = { pieces: 0, bytes: 0 };
  /** @type {Total} */
  events = { pieces: 0, bytes: 0 };

  /** @param {string} streamId Its stream on the current connection. */
  constructor(streamId) {
    this.streamId = streamId;
  }

  /** The rows that changed, appeared or were dropped since the last call. */
  takeChanges() {
    const changes = { changed: this.#changed, dropped: this.#dropped };
    this.#changed = new Set();
    this.#dropped = [];
    return changes;
  }

  /**
   * A frame of the generation.
   * @param {"sent" | "received"} direction
   * @param {string} text
   * @param {import("../../channel/connection.js").Frame} frame The same, parsed.
   */
  addFrame(direction, text, frame) {
    const isChunk = frame.type === "chat.completion.chunk";
    const piece = pieceOf(text, this.frames, this.#began);
    if (isChunk) this.lastSeq = frame.seq;
    if (isChunk && frame.seq <= this.#droppedTo) return;
    const row = isChunk ? this.#chunk(frame.seq, frame.data) : this.#add({ seq: 0, kind: direction, label: labelOf(frame) });
    row.frame = piece;
    this.#chars += piece.text.length;
    if (isChunk) {
      row.isReplayed = frame.seq <= this.#replayedTo;
      this.#match(row, chunkIn(text));
    }
    this.#follow(direction, frame);
  }

  /**
   * Keep track of whether it runs.
   * @param {"sent" | "received"} direction
   * @param {import("../../channel/connection.js").Frame} frame
   */
  #follow(direction, { type, last_seq, error }) {
    if (type === "chat.completion.resumed") this.#replayedTo = last_seq ?? 0;
    if (type === "chat.completion.done") this.isOver = true;
    // Only an error of a running stream is followed by its end.
    else if (type === "error") this.isOver ||= !this.#isRunning || error?.code === "taken_over";
    else if (direction === "received") this.#isRunning ||= type !== "connection.ready";
    else if (type !== "chat.completion.cancel") this.#isRunning = this.isOver = false;
  }

  /**
   * An event of the same generation.
   * @param {string} id Empty for the last.
   * @param {string} data
   */
  addEvent(id, data) {
    const seq = Number(id);
    const piece = pieceOf(`${id && `id: ${id}\n`}data: ${data}\n\n`, this.events, this.#began);
    if (seq > 0 && seq <= this.#droppedTo) return;
    const row = seq > 0 ? this.#chunk(seq, parsed(data)) : this.#add({ seq: 0, kind: "received", label: data });
    row.event = piece;
    this.#chars += piece.text.length;
    if (seq > 0) this.#match(row, data);
  }

  /** The connection was lost. */
  addLoss() {
    if (!this.isOver && this.rows.at(-1)?.kind !== "lost") this.#add({ seq: 0, kind: "lost", label: String(this.lastSeq) });
  }

  /**
   * @param {number} seq
   * @param {any} chunk
   */
  #chunk(seq, chunk) {
    const known = this.#bySeq.get(seq);
    if (known !== undefined) {
      this.#changed.add(known);
      return known;
    }
    const row = this.#add({ seq, kind: "received", label: contentOf(chunk) });
    this.#bySeq.set(seq, row);
    return row;
  }

  /**
   * @param {Pick<Row, "seq" | "kind" | "label">} made
   * @returns {Row}
   */
  #add(made) {
    this.#count += 1;
    const row = { ...made, number: this.#count, isReplayed: false };
    this.rows.push(row);
    this.#changed.add(row);
    this.#drop();
    return row;
  }

  #drop() {
    while (this.rows.length > MAX_ROWS || (this.#chars > MAX_CHARS && this.rows.length > 1)) {
      const row = /** @type {Row} */ (this.rows.shift());
      this.#droppedTo = Math.max(this.#droppedTo, row.seq);
      this.#bySeq.delete(row.seq);
      this.#unmatched.delete(row.seq);
      this.#changed.delete(row);
      this.#chars -= (row.frame?.text.length ?? 0) + (row.event?.text.length ?? 0);
      this.#dropped.push(row);
    }
  }

  /**
   * Compare a chunk with the same one of the other wire, once both are there.
   * @param {Row} row
   * @param {string} chunk
   */
  #match(row, chunk) {
    const other = this.#unmatched.get(row.seq);
    if (other === undefined) {
      this.#unmatched.set(row.seq, chunk);
      return;
    }
    this.#unmatched.delete(row.seq);
    row.isSame = chunk === other;
    if (row.isSame) this.same += 1;
    else this.different += 1;
  }
}

/**
 * @param {string} text
 * @param {Total} total It is counted here.
 * @param {number} began
 * @returns {Piece}
 */
function pieceOf(text, total, began) {
  const bytes = encoder.encode(text).length;
  total.pieces += 1;
  total.bytes += bytes;
  const isCut = text.length > MAX_SHOWN_CHARS;
  return { text: isCut ? text.slice(0, MAX_SHOWN_CHARS) : text, isCut, bytes, at: performance.now() - began };
}

/**
 * The chunk in a chunk frame, which ends with it; the client's names of streams have no quotes.
 * @param {string} frame
 */
export function chunkIn(frame) {
  return frame.slice(frame.indexOf(DATA) + DATA.length, -1);
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

/**
 * What a chunk brings.
 * @param {any} chunk
 */
function contentOf(chunk) {
  const choice = chunk.choices?.[0];
  if (choice === undefined) return JSON.stringify(chunk.usage ?? chunk.error ?? {});
  return choice.finish_reason ? `finish_reason ${choice.finish_reason}` : JSON.stringify(choice.delta ?? {});
}

/**
 * What a frame is, in a few words.
 * @param {import("../../channel/connection.js").Frame} frame
 */
function labelOf(frame) {
  const name = String(frame.type).replace("chat.completion.", "");
  switch (name) {
    case "resume":
    case "follow":
      return `${name} starting_after ${frame.starting_after}`;
    case "resumed":
      return `resumed ${frame.first_seq}–${frame.last_seq}`;
    case "done":
      return `done ${frame.status}`;
    case "error":
      return `error ${frame.error?.code ?? ""}`;
    default:
      return name;
  }
}
