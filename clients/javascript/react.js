// A React hook for one conversation: its messages as they stream, and what can be done with them.
//
//   const { messages, status, send, stop } = useTwowire({ url, ticket: "/api/ticket", model: "default" });

import { useEffect, useMemo, useState, useSyncExternalStore } from "react";

import { Chat } from "./chat.js";

/** @typedef {import("./chat.js").ChatOptions} ChatOptions */
/** @typedef {import("./chat.js").ChatState} ChatState */
/** @typedef {import("./chat.js").Checkpoint} Checkpoint */
/** @typedef {import("./chat.js").Message} Message */
/** @typedef {Pick<Chat, "send" | "stop" | "regenerate" | "setMessages" | "checkpoint" | "resume">} ChatActions */

/**
 * One conversation with a server. It connects with the first message. A connection that is lost is restored, and an
 * answer that was streaming goes on where it was. When the component is unmounted, its answer is stopped.
 *
 * A change of `url`, `apiKey` or `fallback` ends an answer that is running, and opens another connection; so does a
 * `ticket` in place of none, or none in place of one. Another `ticket` holds from the next connection on, `model`, `body`
 * and `resumeGrace` from the next message on. `messages` is what the conversation begins with: for others, call
 * `setMessages`. `WebSocket` and `fetch` should stay the same.
 * @param {ChatOptions} options
 * @returns {ChatState & ChatActions}
 */
export function useTwowire(options) {
  const [chat] = useState(() => new Chat(options));
  useEffect(() => { chat.options = options; });
  const hasTicket = options.ticket !== undefined;
  // The channel is made from these.
  useEffect(() => {
    chat.open();
    return () => chat.close();
  }, [chat, options.url, options.apiKey, options.fallback, hasTicket]);
  const state = useSyncExternalStore(chat.subscribe, chat.snapshot, chat.snapshot);
  return useMemo(() => {
    const { send, stop, regenerate, setMessages, checkpoint, resume } = chat;
    return { ...state, send, stop, regenerate, setMessages, checkpoint, resume };
  }, [chat, state]);
}
