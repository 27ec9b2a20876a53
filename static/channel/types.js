// What a channel's users pass to it and get from it. Types only: nothing here runs.

/** @typedef {import("./errors.js").ChannelError} ChannelError */

/** @typedef {"idle" | "connecting" | "ready" | "reconnecting" | "resumed" | "closed"} State */

/**
 * @typedef {object} StateDetail
 * @property {string} [reason] Why the connection was lost, refused or closed.
 * @property {number} [code] The close code of the socket that was lost.
 * @property {ChannelError} [error]
 * @property {number} [attempt] Failed attempts in a row.
 * @property {number} [retryInMs] Until the next attempt.
 * @property {number} [resumed] Generations that were resumed.
 * @property {number} [lost] Generations that could not be resumed; their iterators throw.
 */

/**
 * @typedef {object} ChannelOptions
 * @property {string} [baseUrl] The server's address, with or without `/v1`; by default the page's own server.
 * @property {string} [apiKey] Exchanged for a ticket per connection; never in a URL.
 * @property {string | ((signal: AbortSignal) => Promise<Response>)} [ticket] Instead of a key: where your own server hands
 *   out tickets, or what asks it for one. The response is that of `POST /v1/ws/tickets`, errors included.
 * @property {typeof WebSocket} [WebSocket] Instead of the global one.
 * @property {typeof fetch} [fetch] Instead of the global one.
 * @property {boolean} [fallback] Where WebSockets are blocked, use HTTP and server-sent events, until they work. Off by
 *   default. A WebSocket counts as blocked after two failed handshakes, if the server answers over HTTP.
 * @property {(state: State, detail: StateDetail) => void} [onState] Called for each state: `connecting` and
 *   `reconnecting` again after each failed attempt, `resumed` once every resumable generation has been resumed or lost.
 * @property {(problem: ChannelError) => void} [onProblem] Called for problems of no generation, and for those that were
 *   repaired, such as a gap or a repeated chunk. By default they are written to the console.
 */

export {};
