// Chats in the forms that other programs know: Markdown to read, and JSON lines of OpenAI's messages.

import { t } from "../../i18n.js";
import { newId, now, pathTo } from "../branches.js";
import { callFrom, pictureFrom } from "./import-export.js";
import { newAnswer, newConversation, newQuestion, titleOf } from "../messages.js";
import { turnOf } from "../running/request.js";

/** @typedef {import("../../types.js").Conversation} Conversation */
/** @typedef {import("../../types.js").Message} Message */

/**
 * The shown branch of each conversation.
 * @param {Conversation[]} conversations
 * @param {Message[]} messages
 */
function paths(conversations, messages) {
  const all = new Map(messages.map((message) => [message.id, message]));
  return conversations.map((conversation) => ({ conversation, path: pathTo(all, conversation.leaf) }));
}

/**
 * @param {Conversation[]} conversations
 * @param {Message[]} messages
 * @param {(message: Message) => string} nameOf The heading of a message.
 */
export function toMarkdown(conversations, messages, nameOf) {
  return paths(conversations, messages).map(({ conversation, path }) => [
    `# ${conversation.title}`,
    ...path.map((message) => {
      const calls = (message.answer?.calls ?? []).map((call) => `\`\`\`json\n${JSON.stringify(call, null, 2)}\n\`\`\``);
      const pictures = (message.pictures ?? []).map(({ name, url }) => `![${name.replace(/[[\]\\]/g, "")}](${url})`);
      return [`## ${nameOf(message)}`, ...pictures, message.text.trim(), ...calls].filter(Boolean).join("\n\n");
    }),
  ].join("\n\n")).join("\n\n").concat("\n");
}

/**
 * A line per conversation, as OpenAI's fine-tuning takes them: `{"messages": […], "tools"?: […]}`.
 * @param {Conversation[]} conversations
 * @param {Message[]} messages
 */
export function toJsonLines(conversations, messages) {
  return paths(conversations, messages).map(({ conversation: { sampling = {} }, path }) => {
    const turns = path.map(turnOf);
    if (sampling.system) turns.unshift({ role: "system", content: sampling.system });
    return `${JSON.stringify({ messages: turns, ...(sampling.tools ? { tools: sampling.tools } : {}) })}\n`;
  }).join("");
}

/** Whether a file's text is JSON lines of messages. @param {string} text */
export function isJsonLines(text) {
  try {
    return Array.isArray(JSON.parse(text.trimStart().split("\n", 1)[0]).messages) && !text.includes('"twowire-chats"');
  } catch {
    return false;
  }
}

/**
 * Throws an error that names the line if it is invalid.
 * @param {string} text
 * @returns {{ conversations: Conversation[], messages: Message[] }}
 */
export function fromJsonLines(text) {
  /** @type {Conversation[]} */
  const conversations = [];
  /** @type {Message[]} */
  const messages = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    try {
      const { messages: turns, tools } = JSON.parse(line);
      const conversation = newConversation(newId(), Array.isArray(tools) ? { tools } : {});
      messages.push(...turnsFrom(conversation, turns));
      conversations.push(conversation);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(t("importLine", { number: index + 1, reason }));
    }
  }
  return { conversations, messages };
}

/**
 * @param {Conversation} conversation Gets its title and its leaf.
 * @param {any[]} turns
 */
function turnsFrom(conversation, turns) {
  const { id, sampling = {} } = conversation;
  /** @type {Message[]} */
  const made = [];
  for (const { role, content, reasoning, tool_calls: calls, tool_call_id: callId } of turns) {
    /** @type {any[]} */
    const parts = Array.isArray(content) ? content : [];
    const text = typeof content === "string" ? content : parts.map((part) => part?.text ?? "").join("");
    const parent = made.at(-1)?.id ?? null;
    if (role === "system" || role === "developer") {
      sampling.system = text;
    } else if (role === "user") {
      if (conversation.title === "") conversation.title = titleOf(text);
      made.push(newQuestion(id, parent, text, parts.flatMap((part) => (part?.image_url ? pictureFrom(part.image_url) : []))));
    } else if (role === "tool") {
      const called = made.flatMap(({ answer }) => answer?.calls ?? []).find((one) => one.id === callId);
      const call = { id: String(callId), name: (called?.function ?? called?.custom)?.name ?? "" };
      made.push({ id: newId(), conversation: id, parent, role, text, created: now(), call });
    } else if (role === "assistant") {
      const message = newAnswer(id, parent, { model: "", sampling: {} });
      const answer = /** @type {import("../../types.js").Answer} */ (message.answer);
      message.text = text;
      answer.state = "done";
      if (typeof reasoning === "string") answer.thoughts = { text: reasoning, began: 0, ended: 0 };
      if (Array.isArray(calls)) answer.calls = calls.map(callFrom);
      answer.wasInterrupted = true;
      made.push(message);
    } else {
      throw new Error(t("importRole", { role: JSON.stringify(role) }));
    }
  }
  conversation.leaf = made.at(-1)?.id ?? null;
  return made;
}
