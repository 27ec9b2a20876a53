// Exports conversations to a file and imports them. A file may come from anywhere, so everything in it is checked,
// and nothing in it runs or is fetched.

import { t } from "../../i18n.js";
import { newId } from "../branches.js";

/** @typedef {import("../../types.js").Conversation} Conversation */
/** @typedef {import("../../types.js").Message} Message */

const FORMAT = "twowire-chats";
const VERSION = 1;
const NUMBERS = ["temperature", "top_p", "max_completion_tokens", "seed", "top_k", "min_p", "presence_penalty",
  "frequency_penalty", "repetition_penalty", "min_tokens", "thinking_token_budget"];
const FLAGS = ["thinking", "ignore_eos", "skip_special_tokens", "parallel_tool_calls"];
const PICTURE = /^data:image\/(?:gif|jpeg|png|webp);base64,[A-Za-z0-9+/=]*$/;
const STATES = ["done", "stopped", "failed"];

/**
 * @param {Conversation[]} conversations
 * @param {Message[]} messages May include those of other conversations.
 */
export function toFile(conversations, messages) {
  const wanted = new Set(conversations.map(({ id }) => id));
  const kept = messages.filter(({ conversation }) => wanted.has(conversation)).map((message) => {
    if (message.answer === undefined) return message;
    // The cursor gives access to the generation, so it stays in this browser.
    const state = message.answer.state === "open" ? "stopped" : message.answer.state;
    return { ...message, answer: { ...message.answer, state, cursor: null } };
  });
  const content = { format: FORMAT, version: VERSION, exported: new Date().toISOString(), conversations, messages: kept };
  return JSON.stringify(content, null, 1);
}

/**
 * Read an exported file. Everything gets a new id, so that nothing is overwritten. Throws if the file is invalid.
 * @param {string} text
 * @returns {{ conversations: Conversation[], messages: Message[] }}
 */
export function fromFile(text) {
  const content = JSON.parse(text);
  if (content?.format !== FORMAT || content.version !== VERSION) throw new Error(t("importNotOurs"));
  const names = new Map();
  /** @type {(old: unknown) => string} */
  const rename = (old) => {
    if (typeof old !== "string") throw new Error(t("importNoId"));
    if (!names.has(old)) names.set(old, newId());
    return names.get(old);
  };
  const messages = list(content.messages).map((one) => messageFrom(one, rename));
  const conversations = list(content.conversations).map((one) => conversationFrom(one, rename));
  const known = new Set(conversations.map(({ id }) => id));
  const ids = new Set(messages.map(({ id }) => id));
  for (const { conversation, parent } of messages) {
    if (!known.has(conversation)) throw new Error(t("importNoChat"));
    if (parent !== null && !ids.has(parent)) throw new Error(t("importNoParent"));
  }
  for (const conversation of conversations) {
    if (conversation.leaf !== null && !ids.has(conversation.leaf)) conversation.leaf = null;
  }
  return { conversations, messages };
}

/**
 * @param {any} one
 * @param {(old: unknown) => string} rename
 * @returns {Conversation}
 */
function conversationFrom(one, rename) {
  return {
    id: rename(one.id), title: string(one.title), isNamed: one.isNamed === true, created: number(one.created),
    updated: number(one.updated), leaf: one.leaf === null ? null : rename(one.leaf),
    ...(one.isPinned === true ? { isPinned: true } : {}),
    ...(typeof one.model === "string" && one.model !== "" ? { model: one.model } : {}),
    ...(one.sampling ? { sampling: samplingFrom(one.sampling) } : {}),
  };
}

/**
 * @param {any} one
 * @param {(old: unknown) => string} rename
 * @returns {Message}
 */
function messageFrom(one, rename) {
  const role = one.role === "assistant" || one.role === "tool" ? one.role : "user";
  /** @type {Message} */
  const message = {
    id: rename(one.id), conversation: rename(one.conversation), parent: one.parent === null ? null : rename(one.parent),
    role, text: string(one.text), created: number(one.created),
  };
  if (role === "tool") message.call = { id: string(one.call?.id), name: string(one.call?.name) };
  const pictures = role === "user" && Array.isArray(one.pictures) ? one.pictures.flatMap(pictureFrom) : [];
  if (pictures.length > 0) message.pictures = pictures;
  if (role !== "assistant") return message;
  const { answer = {} } = one;
  message.answer = {
    state: STATES.includes(answer.state) ? answer.state : "stopped",
    model: string(answer.model ?? ""), sampling: samplingFrom(answer.sampling ?? {}),
    finish: typeof answer.finish === "string" ? answer.finish : null,
    error: answer.error ? { code: string(answer.error.code), message: string(answer.error.message) } : null,
    cursor: null, pieces: number(answer.pieces), limitBase: number(answer.limitBase), counted: number(answer.counted),
    usage: answer.usage
      ? { prompt: number(answer.usage.prompt), completion: number(answer.usage.completion) } : null,
    sent: number(answer.sent), first: number(answer.first), last: number(answer.last),
    wasInterrupted: answer.wasInterrupted === true, restarts: number(answer.restarts),
  };
  if (answer.thoughts) message.answer.thoughts = thoughtsFrom(answer.thoughts);
  if (answer.calls) message.answer.calls = list(answer.calls).map(callFrom);
  return message;
}

/**
 * None for what is no image in a data URL.
 * @param {any} given
 * @returns {import("../../types.js").Picture[]}
 */
export function pictureFrom({ url, name, width, height }) {
  if (typeof url !== "string" || !PICTURE.test(url)) return [];
  return [{ url, name: typeof name === "string" ? name : "", width: number(width), height: number(height) }];
}

/**
 * @param {any} given
 * @returns {import("../../types.js").Thoughts}
 */
function thoughtsFrom({ text, began, ended, tokens }) {
  return { text: string(text), began: number(began), ended: number(ended),
    ...(tokens === undefined ? {} : { tokens: number(tokens) }) };
}

/**
 * @param {any} given
 * @returns {import("../../types.js").ToolCall}
 */
export function callFrom({ id, function: called, custom }) {
  if (custom) {
    return { id: string(id), type: "custom", custom: { name: string(custom.name), input: string(custom.input) } };
  }
  return { id: string(id), type: "function",
    function: { name: string(called?.name), arguments: string(called?.arguments) } };
}

/**
 * @param {any} given
 * @returns {import("../../types.js").Sampling}
 */
function samplingFrom(given) {
  /** @type {Record<string, unknown>} */
  const sampling = {};
  if (typeof given.system === "string") sampling.system = given.system;
  for (const name of NUMBERS) {
    if (Number.isFinite(given[name])) sampling[name] = given[name];
  }
  if (Array.isArray(given.stop)) sampling.stop = given.stop.map(string);
  if (Array.isArray(given.bad_words)) sampling.bad_words = given.bad_words.map(string);
  for (const name of FLAGS) if (typeof given[name] === "boolean") sampling[name] = given[name];
  if (typeof given.reasoning_effort === "string") sampling.reasoning_effort = given.reasoning_effort;
  for (const name of ["stop_token_ids", "allowed_token_ids"]) {
    if (Array.isArray(given[name])) sampling[name] = given[name].filter(Number.isInteger);
  }
  // Checked by the server, which names what is wrong.
  if (Array.isArray(given.tools)) sampling.tools = given.tools;
  if (typeof given.tool_choice === "string" || isObject(given.tool_choice)) sampling.tool_choice = given.tool_choice;
  for (const name of ["response_format", "logit_bias"]) if (isObject(given[name])) sampling[name] = given[name];
  return sampling;
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {unknown} value @returns {any[]} */
function list(value) {
  if (!Array.isArray(value)) throw new Error(t("importNoList"));
  return value;
}

/** @param {unknown} value */
function string(value) {
  if (typeof value !== "string") throw new Error(t("importNoText"));
  return value;
}

/** @param {unknown} value */
function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
