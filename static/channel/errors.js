// The errors of a channel: the server's, and this client's own.

/** @typedef {{ message: string, type?: string | null, param?: string | null, code?: string | null }} ErrorObject */

/**
 * An error of the channel, or one that the server sent.
 *
 * This client adds the codes `connection_lost` (the socket was lost and the generation cannot be resumed),
 * `channel_closed`, `chunks_missing`, `protocol_error` (the server does not follow the protocol) and `unreachable`.
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
    /** The server's code, or one of this client's. */
    this.code = code;
    /** The HTTP status of the error; undefined for this client's own. */
    this.status = more.status;
    this.type = more.type ?? null;
    /** The field at fault, such as `messages[0].content`. */
    this.param = more.param ?? null;
    /** Seconds after which to retry, if the server said so. */
    this.retryAfterS = more.retryAfterS;
    /** The socket's close code, if the error is its close. */
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
 * A generation's connection was lost, and it cannot be resumed.
 * @param {boolean} isSent Whether the server has accepted it.
 * @param {import("./connection.js").Ending} ending Of the connection.
 */
export function connectionLost(isSent, { reason, code, error }) {
  const what = isSent ? "lost its connection and cannot be resumed" : "could not be sent";
  return new ChannelError("connection_lost", `The generation ${what}: ${reason}`, { closeCode: code, cause: error });
}
