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
 * A change of `url` or `apiKey` opens another connection; all other options hold from the next message on.
 * @param {ChatOptions} options
 * @returns {ChatState & ChatActions}
 */
export function useTwowire(options) {
  const [chat] = useState(() => new Chat(options));
  useEffect(() => { chat.options = options; });
  // The channel is made from these two.
  useEffect(() => {
    chat.open();
    return () => chat.close();
  }, [chat, options.url, options.apiKey]);
  const state = useSyncExternalStore(chat.subscribe, chat.snapshot, chat.snapshot);
  return useMemo(() => {
    const { send, stop, regenerate, setMessages, checkpoint, resume } = chat;
    return { ...state, send, stop, regenerate, setMessages, checkpoint, resume };
  }, [chat, state]);
}
