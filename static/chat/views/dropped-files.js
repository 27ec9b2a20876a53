// Takes text files that are dropped or pasted, and makes them part of the question.

import { t } from "../i18n.js";

const MAX_BYTES = 512 * 1024;

/**
 * Take files from everywhere on the page: otherwise, the browser would open them in place of the chat.
 * @param {(text: string) => void} add Called with each file as Markdown.
 * @param {(problem: string) => void} refuse
 */
export function takeFiles(add, refuse) {
  addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    const files = event.dataTransfer?.files;
    if (files === undefined || files.length === 0) return;
    event.preventDefault();
    void take([...files], add, refuse);
  });
  addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    // Office programs put a picture beside the text.
    if (files === undefined || files.length === 0 || event.clipboardData?.types.includes("text/plain")) return;
    event.preventDefault();
    void take([...files], add, refuse);
  });
}

/**
 * @param {File[]} files
 * @param {(text: string) => void} add
 * @param {(problem: string) => void} refuse
 */
async function take(files, add, refuse) {
  for (const file of files) {
    const { name, size } = file;
    if (size > MAX_BYTES) {
      refuse(t("fileTooBig", { name, limit: MAX_BYTES / 1024 }));
      continue;
    }
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      if (text.includes("\0")) throw new TypeError("binary");
      add(asMarkdown(name, text));
    } catch {
      refuse(t("fileNotText", { name }));
    }
  }
}

/**
 * @param {string} name
 * @param {string} text
 */
function asMarkdown(name, text) {
  // Longer than any fence inside.
  const longest = Math.max(2, ...[...text.matchAll(/`{3,}/g)].map(([fence]) => fence.length));
  const fence = "`".repeat(longest + 1);
  const ending = /\.(\w+)$/.exec(name)?.[1] ?? "";
  return `${name}:\n${fence}${ending}\n${text.replace(/\r\n?/g, "\n").replace(/\n$/, "")}\n${fence}\n`;
}
