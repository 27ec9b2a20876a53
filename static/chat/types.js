// The shapes that the chat keeps and passes around. Types only: nothing here runs.

/**
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title Empty until there is a question or a name.
 * @property {boolean} isNamed The reader gave the title.
 * @property {number} created Milliseconds since 1970, as all times here.
 * @property {number} updated
 * @property {string | null} leaf The last message of the branch that is shown.
 */

/**
 * @typedef {object} Message One turn. Messages are a tree: an edited question and a second answer are siblings.
 * @property {string} id
 * @property {string} conversation
 * @property {string | null} parent
 * @property {"user" | "assistant"} role
 * @property {string} text
 * @property {number} created
 * @property {Answer} [answer] Only of the assistant's.
 */

/** @typedef {"open" | "done" | "stopped" | "failed"} AnswerState `open`: not finished, whether or not it runs now. */

/**
 * @typedef {object} Answer How an answer comes about.
 * @property {AnswerState} state
 * @property {string} model
 * @property {Sampling} sampling What it was asked for with, so that it goes on with the same.
 * @property {string | null} finish OpenAI's `finish_reason`.
 * @property {{ message: string, code: string } | null} error
 * @property {Cursor | null} cursor Where to read on, while it runs at the server.
 * @property {number} pieces Chunks with text so far: at least as many tokens.
 * @property {number} limitBase The `pieces` that do not count against the limit of tokens.
 * @property {number} counted How many of the `pieces` are in `usage`.
 * @property {{ prompt: number, completion: number } | null} usage
 * @property {number} sent
 * @property {number} first When the first text came; 0 before.
 * @property {number} last When the last came.
 * @property {boolean} wasInterrupted So its times say nothing of the server's speed.
 * @property {number} restarts How often it was gone on with after it was lost at the server.
 */

/**
 * @typedef {object} Cursor
 * @property {string} id
 * @property {string} token
 * @property {number} seq The last chunk whose text is in the message.
 */

/**
 * @typedef {object} Sampling
 * @property {string} [system] The system prompt.
 * @property {number} [temperature]
 * @property {number} [top_p]
 * @property {number} [max_completion_tokens]
 * @property {number} [seed]
 * @property {string[]} [stop]
 */

export {};
