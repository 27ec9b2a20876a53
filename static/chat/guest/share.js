// The dialog with a link to a growing answer and its QR code, for another device or another reader.

import { element, writeClipboard } from "../../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { g, loadWords } from "./words.js";

const LOOPBACK = /^(?:localhost|.*\.localhost|127(?:\.\d+){3}|\[::1\])$/;
const COPIED_MS = 2000;

/** @param {string} link */
export async function showLink(link) {
  await loadWords();
  const { host, hostname } = new URL(link);
  const field = element("input", { id: "link", readonly: true, dir: "ltr", value: link });
  const copy = element("button", { type: "submit", class: "main-button" }, t("copy"));
  const dialog = element("dialog", { id: "share", "aria-labelledby": "share-title" },
    element("form", { onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      copy.textContent = t((await writeClipboard(link)) ? "copied" : "notCopied");
      setTimeout(() => { copy.textContent = t("copy"); }, COPIED_MS);
    } },
    element("div", { class: "dialog-head" },
      element("h2", { id: "share-title" }, g("title")),
      element("button", { type: "button", class: "tool", "aria-label": t("close"), onclick: () => dialog.close() }, icon("close"))),
    element("p", { class: "quiet" }, g("explanation")),
    LOOPBACK.test(hostname) && element("p", { class: "quiet" }, g("onlyHere", { host })),
    await qrCode(link),
    element("div", { class: "with-button" }, element("label", {}, element("span", {}, g("link")), field), copy)));
  // A click outside of it.
  dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}

/**
 * Null without the library.
 * @param {string} text
 */
async function qrCode(text) {
  try {
    // Not literals, so that the type checker does not look for files that may be missing.
    const [core, svg] = ["../../vendor/qr.js", "../../vendor/qr-svg.js"];
    const [{ generate }, { toSvg }] = await Promise.all([import(core), import(svg)]);
    /** @type {SVGElement} */
    const drawn = toSvg(generate(text), document, { on: "black", off: "white" });
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", g("qrCode"));
    drawn.classList.add("qr");
    return drawn;
  } catch (error) {
    console.warn("There is no QR code:", error);
    return null;
  }
}
