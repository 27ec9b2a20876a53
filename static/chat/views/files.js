// Saves chats to files, and imports them.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";
import { fromFile, toFile } from "../state/import-export.js";
import { toast } from "../toast.js";

/** @typedef {import("../state/conversations.js").Library} Library */
/** @typedef {import("../types.js").Conversation} Conversation */

const REVOKE_MS = 60_000;

/**
 * @param {Library} library
 * @param {Conversation[]} conversations
 */
export async function saveChats(library, conversations) {
  const { messages } = await library.everything();
  const day = new Date().toISOString().slice(0, 10);
  download(`twowire-chats-${day}.json`, "application/json", toFile(conversations, messages));
}

/**
 * @param {Library} library
 * @param {File} file
 */
export async function importChats(library, file) {
  try {
    const { conversations, messages } = fromFile(await file.text());
    await library.add(conversations, messages);
    toast(byId("toasts"), t("imported", { count: conversations.length }));
  } catch (error) {
    toast(byId("toasts"), t("importFailed", { reason: error instanceof Error ? error.message : String(error) }));
  }
}

/**
 * @param {string} name
 * @param {string} type
 * @param {string} text
 */
function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), REVOKE_MS);
}
