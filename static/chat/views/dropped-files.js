// Takes text files and images that are dropped, pasted or chosen, and makes them part of the question.

import { t } from "../i18n.js";

const MAX_BYTES = 512 * 1024;

/**
 * @typedef {object} Taker
 * @property {(text: string) => void} add Called with each text file as Markdown.
 * @property {(pictures: import("../types.js").Picture[]) => void} addPictures
 * @property {() => boolean} canSee Whether images are taken.
 * @property {(problem: string) => void} refuse
 */

/**
 * Take files from everywhere on the page: otherwise, the browser would open them in place of the chat.
 * @param {Taker} taker
 */
export function listenForDrops(taker) {
  addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    const files = event.dataTransfer?.files;
    if (files === undefined || files.length === 0) return;
    event.preventDefault();
    void takeFiles([...files], taker);
  });
  addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    // Office programs put a picture beside the text.
    if (files === undefined || files.length === 0 || event.clipboardData?.types.includes("text/plain")) return;
    event.preventDefault();
    void takeFiles([...files], taker);
  });
}

/**
 * @param {File[]} files
 * @param {Taker} taker
 */
export async function takeFiles(files, { add, addPictures, canSee, refuse }) {
  for (const file of files) {
    try {
      if (!isPicture(file)) add(await markdownOf(file));
      else if (!canSee()) throw new Error(t("imagesNotTaken", { name: file.name }));
      else addPictures([await (await import("../state/exchange/pictures.js")).pictureFrom(file)]);
    } catch (error) {
      refuse(error instanceof Error ? error.message : String(error));
    }
  }
}

/** @param {File} file */
function isPicture({ type }) {
  // An SVG is a text that the model can read.
  return type.startsWith("image/") && type !== "image/svg+xml";
}

/** @param {File} file */
async function markdownOf(file) {
  const { name, size } = file;
  if (size > MAX_BYTES) throw new Error(t("fileTooBig", { name, limit: MAX_BYTES / 1024 }));
  const bytes = await file.arrayBuffer();
  let text = "\0";
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // Not in UTF-8.
  }
  if (text.includes("\0")) throw new Error(t("fileNotText", { name }));
  return asMarkdown(name, text);
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
