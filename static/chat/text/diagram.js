// Shows a Mermaid diagram in place of its code. It is drawn in a frame of its own, see `static/diagram/frame.js`.

import { element } from "../../dom.js";
import { t } from "../i18n.js";

const FRAME = new URL("../../diagram/frame.html", import.meta.url).href;
/** A longer text would take long to draw. */
const MAX_LENGTH = 20_000;
const LIMIT_MS = 20_000;

/**
 * Show the diagram, or the code again.
 * @param {HTMLElement} figure The code block.
 * @param {HTMLButtonElement} button What was clicked.
 */
export async function toggleDiagram(figure, button) {
  const code = /** @type {HTMLElement} */ (figure.querySelector("pre"));
  const known = figure.querySelector(".diagram");
  if (known !== null) {
    known.remove();
    code.hidden = false;
    button.textContent = t("diagram");
    return;
  }
  const frame = element("iframe", { sandbox: "allow-scripts", title: t("diagram"), src: FRAME });
  const place = element("div", { class: "diagram" }, frame);
  figure.append(place);
  code.hidden = true;
  button.textContent = t("code");
  try {
    frame.height = String(await drawn(frame, code.textContent ?? ""));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    code.hidden = false;
    place.replaceChildren(element("p", { class: "notice", role: "status", dir: "auto", dataset: { tone: "bad" } }, t("diagramFailed", { reason })));
  }
}

/**
 * The diagram's height.
 * @param {HTMLIFrameElement} frame
 * @param {string} text
 * @returns {Promise<number>}
 */
function drawn(frame, text) {
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = document.documentElement.dataset.theme;
  return new Promise((resolve, reject) => {
    if (text.length > MAX_LENGTH) throw new Error(t("diagramTooLong", { limit: MAX_LENGTH }));
    const timer = setTimeout(() => end(() => reject(new Error(t("diagramTooSlow")))), LIMIT_MS);
    /** @param {() => void} settle */
    const end = (settle) => {
      clearTimeout(timer);
      removeEventListener("message", listen);
      settle();
    };
    /** @param {MessageEvent} event */
    const listen = ({ source, data }) => {
      if (source !== frame.contentWindow || source === null) return;
      if (data.isReady) frame.contentWindow?.postMessage({ text, isDark: theme === "dark" || (theme !== "light" && isDark) }, "*");
      else if (typeof data.height === "number") end(() => resolve(data.height));
      else end(() => reject(new Error(String(data.problem))));
    };
    addEventListener("message", listen);
  });
}
