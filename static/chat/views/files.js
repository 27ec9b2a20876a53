// Saves chats to files, and imports them.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";
import { fromJsonLines, isJsonLines, toJsonLines, toMarkdown } from "../state/exchange/formats.js";
import { fromFile, toFile } from "../state/exchange/import-export.js";
import { toast } from "../toast.js";

/** @typedef {import("../state/conversations.js").Library} Library */
/** @typedef {import("../types.js").Conversation} Conversation */

const REVOKE_MS = 60_000;

/** @typedef {"json" | "jsonl" | "md"} Format */

/** The buttons that export and import. @param {Library} library */
export function listenForFiles(library) {
  for (const [id, format] of /** @type {const} */ ([["export-all", "json"], ["export-jsonl", "jsonl"], ["export-md", "md"]])) {
    document.getElementById(id)?.addEventListener("click", () => void saveChats(library, library.conversations, format));
  }
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async () => {
    const input = byId("import-file");
    for (const file of input.files) await importChats(library, file);
    input.value = "";
  });
}

/**
 * @param {Library} library
 * @param {Conversation[]} conversations
 * @param {Format} [format] `json` is the page's own, with all branches; the others have the shown one.
 */
export async function saveChats(library, conversations, format = "json") {
  const { messages } = await library.everything();
  const name = `twowire-chats-${new Date().toISOString().slice(0, 10)}.${format}`;
  if (format === "md") download(name, "text/markdown", toMarkdown(conversations, messages, headingOf));
  else if (format === "jsonl") download(name, "application/jsonl", toJsonLines(conversations, messages));
  else download(name, "application/json", toFile(conversations, messages));
}

/** @param {import("../types.js").Message} message */
function headingOf({ role, call }) {
  return call ? t("resultOf", { name: call.name }) : t(role === "user" ? "question" : "answer");
}

/**
 * @param {Library} library
 * @param {File} file
 */
async function importChats(library, file) {
  try {
    const text = await file.text();
    const { conversations, messages } = isJsonLines(text) ? fromJsonLines(text) : fromFile(text);
    await library.add(conversations, messages);
    toast(byId("toasts"), t("imported", { count: conversations.length }));
  } catch (error) {
    toast(byId("toasts"), t("importFailed", { reason: error instanceof Error ? error.message : String(error) }));
  }
}

/**
 * Save a file.
 * @param {string} name
 * @param {string} type
 * @param {string} text
 */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), REVOKE_MS);
}
