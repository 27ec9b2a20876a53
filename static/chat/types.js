// The data that the chat stores and passes around. Types only: nothing here runs.

/**
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title Empty until it has a question or a name.
 * @property {boolean} isNamed Whether the reader chose the title.
 * @property {number} created Milliseconds since 1970, like all times here.
 * @property {number} updated
 * @property {string | null} leaf The last message of the shown branch.
 * @property {boolean} [isPinned] Whether it is listed before the others.
 * @property {boolean} [isUnread] Whether an answer was finished while it was not shown.
 * @property {string} [model] For its next answers. Chats from before chats had their own have none.
 * @property {Sampling} [sampling] For its next answers. Chats from before chats had their own have none.
 */

/**
 * @typedef {object} Message One turn. Messages are a tree: an edited question and a second answer are siblings.
 * @property {string} id
 * @property {string} conversation
 * @property {string | null} parent
 * @property {"user" | "assistant" | "tool"} role
 * @property {string} text
 * @property {number} created
 * @property {Answer} [answer] For messages of the assistant.
 * @property {Picture[]} [pictures] The images of a question.
 * @property {{ id: string, name: string }} [call] For role tool: the call whose result `text` is.
 */

/**
 * @typedef {object} Picture An image, as it is sent.
 * @property {string} url A data URL.
 * @property {string} name Of its file.
 * @property {number} width In pixels; 0 if it is not known.
 * @property {number} height
 */

/** @typedef {"open" | "done" | "stopped" | "failed"} AnswerState `open`: not finished, running or not. */

/**
 * @typedef {object} Answer The state of an answer.
 * @property {AnswerState} state
 * @property {string} model
 * @property {Sampling} sampling As requested, so that it can be continued with the same.
 * @property {string | null} finish OpenAI's `finish_reason`.
 * @property {{ message: string, code: string } | null} error
 * @property {Cursor | null} cursor Where to resume, while it runs on the server.
 * @property {number} pieces Chunks with text so far; each has at least one token.
 * @property {number} limitBase The `pieces` that do not count towards the token limit.
 * @property {number} counted The number of `pieces` that `usage` includes.
 * @property {{ prompt: number, completion: number } | null} usage
 * @property {number} sent
 * @property {number} first When the first text arrived; 0 before that.
 * @property {number} last When the last text arrived.
 * @property {boolean} wasInterrupted Its times then say nothing about the server's speed.
 * @property {number} restarts How often it was continued after the server had lost it.
 * @property {Thoughts} [thoughts] What the model thought before its text.
 * @property {ToolCall[]} [calls] As far as they have come.
 */

/** @typedef {import("../channel/gathered.js").ToolCall} ToolCall */

/**
 * @typedef {object} Thoughts
 * @property {string} text
 * @property {number} began
 * @property {number} ended When the last of it arrived.
 * @property {number} [tokens] Known once the answer is complete.
 */

/**
 * @typedef {object} Cursor
 * @property {string} id
 * @property {string} token
 * @property {number} seq The number of the last chunk in the message's text.
 * @property {string} [follow] With it, other tabs read along.
 */

/**
 * @typedef {object} Sampling
 * @property {string} [system] The system prompt.
 * @property {number} [temperature]
 * @property {number} [top_p]
 * @property {number} [max_completion_tokens]
 * @property {number} [top_k]
 * @property {number} [min_p]
 * @property {number} [presence_penalty]
 * @property {number} [frequency_penalty]
 * @property {number} [repetition_penalty]
 * @property {number} [min_tokens]
 * @property {number} [seed]
 * @property {string[]} [stop]
 * @property {boolean} [thinking] Whether the model is to think first; without it, the model's default.
 * @property {object[]} [tools] As in the API.
 * @property {string | object} [tool_choice] As in the API.
 * @property {ResponseFormat} [response_format]
 * @property {string[]} [bad_words]
 * @property {Record<string, number>} [logit_bias] By token id.
 * @property {boolean} [ignore_eos]
 * @property {boolean} [skip_special_tokens]
 * @property {boolean} [parallel_tool_calls]
 * @property {string} [reasoning_effort]
 * @property {number} [thinking_token_budget]
 * @property {number[]} [stop_token_ids]
 * @property {number[]} [allowed_token_ids]
 */

/**
 * @typedef {object} ResponseFormat As in the API.
 * @property {"json_schema" | "json_object"} type
 * @property {{ name: string, schema?: object }} [json_schema]
 */

export {};
