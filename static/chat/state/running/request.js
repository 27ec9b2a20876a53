// What is sent for an answer, and what its chunks add to it.

import { Gathered } from "../../../channel/gathered.js";

/** @typedef {import("../../types.js").Answer} Answer */
/** @typedef {import("../../types.js").Message} Message */
/** @typedef {import("../../../channel/gathered.js").Delta} Delta */

/**
 * The request for an answer, or for the rest of one that has text.
 * @param {Message} message
 * @param {Answer} answer Its answer.
 * @param {Message[]} history The turns before it.
 */
export function requestFor(message, answer, history) {
  const messages = history.map(turnOf);
  const body = bodyOf(answer.model, answer.sampling, messages);
  const { max_completion_tokens: limit } = answer.sampling;
  if (limit !== undefined) body.max_completion_tokens = Math.max(1, limit - (answer.pieces - answer.limitBase));
  // Only text can be continued; thoughts and calls begin again.
  if (message.text.trim() === "" || answer.calls !== undefined) {
    message.text = "";
    delete answer.thoughts;
    delete answer.calls;
  } else {
    messages.push(turnOf(message));
    body.continue_final_message = true;
  }
  return body;
}

/**
 * The body of a request.
 * @param {string} model
 * @param {import("../../types.js").Sampling} settings
 * @param {Record<string, unknown>[]} messages The system prompt is added to them.
 */
export function bodyOf(model, { system, thinking, tools, tool_choice, parallel_tool_calls, ...sampling }, messages) {
  if (system) messages.unshift({ role: "system", content: system });
  /** @type {Record<string, unknown>} */
  const body = { model, messages, ...sampling };
  // Without tools, there is nothing to choose from.
  if (tools !== undefined) {
    Object.assign(body, { tools }, tool_choice === undefined ? {} : { tool_choice },
      parallel_tool_calls === undefined ? {} : { parallel_tool_calls });
  }
  if (thinking !== undefined) body.chat_template_kwargs = { enable_thinking: thinking };
  return body;
}

/**
 * A message as the API takes it.
 * @param {Message} message
 */
export function turnOf({ role, text, answer, call, pictures }) {
  /** @type {Record<string, unknown>} */
  const turn = { role, content: text };
  if (pictures !== undefined) {
    const parts = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
    turn.content = [...parts, ...(text.trim() === "" ? [] : [{ type: "text", text }])];
  }
  if (answer?.thoughts) turn.reasoning = answer.thoughts.text;
  if (answer?.calls) turn.tool_calls = answer.calls;
  if (call) turn.tool_call_id = call.id;
  return turn;
}

/** Adds chunks to an answer. */
export class Growth {
  #message;
  #answer;
  #gathered;

  /**
   * @param {Message} message
   * @param {Answer} answer Its answer, which may have begun.
   */
  constructor(message, answer) {
    this.#message = message;
    this.#answer = answer;
    this.#gathered = new Gathered(answer.thoughts?.text, answer.calls);
  }

  /**
   * Add what a chunk brings; returns whether it brought anything.
   * @param {Delta} delta
   * @param {number} at The time.
   */
  add(delta, at) {
    const { content, reasoning, tool_calls: calls } = delta;
    if (!content && !reasoning && !calls?.length) return false;
    const answer = this.#answer;
    this.#message.text += content ?? "";
    if (reasoning || calls?.length) this.#gathered.add(delta);
    if (reasoning) {
      answer.thoughts ??= { text: "", began: at, ended: at };
      answer.thoughts.text = this.#gathered.reasoning;
      answer.thoughts.ended = at;
    }
    if (this.#gathered.toolCalls.length > 0) answer.calls = this.#gathered.toolCalls;
    answer.pieces += 1;
    answer.last = at;
    if (answer.first === 0) answer.first = at;
    return true;
  }
}
