// Makes the images that a question carries: scaled down, and drawn anew, which leaves out where a photo was taken.

import { t } from "../../i18n.js";

/** @typedef {import("../../types.js").Picture} Picture */

/** Most models look at no more. */
const MAX_SIDE = 1536;
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** A larger one is sent as JPEG, which has no transparency. */
const MAX_PNG_CHARS = 1_000_000;
const QUALITY = 0.85;

/**
 * Throws an error that says what is wrong.
 * @param {File} file
 * @returns {Promise<Picture>}
 */
export async function pictureFrom(file) {
  const { name } = file;
  if (file.size > MAX_FILE_BYTES) throw new Error(t("fileTooBig", { name, limit: MAX_FILE_BYTES / 1024 }));
  const bitmap = await createImageBitmap(file).catch(() => { throw new Error(t("imageNotRead", { name })); });
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const png = file.type === "image/jpeg" ? "" : canvas.toDataURL("image/png");
  if (png !== "" && png.length <= MAX_PNG_CHARS) return { name, url: png, width, height };
  // What is transparent would become black.
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  return { name, url: canvas.toDataURL("image/jpeg", QUALITY), width, height };
}
