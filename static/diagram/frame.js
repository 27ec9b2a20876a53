// Draws one Mermaid diagram, whose text a model wrote. This frame has an origin of its own, so that nothing in a diagram
// reaches the chat or what it stores.

/**
 * @typedef {object} Mermaid The part of the library that is used here.
 * @property {(options: object) => void} initialize
 * @property {(id: string, text: string) => Promise<{ svg: string }>} render
 */

/** @param {string} text @param {boolean} isDark */
async function draw(text, isDark) {
  /** @type {Mermaid | undefined} */
  const mermaid = /** @type {any} */ (globalThis).mermaid;
  if (mermaid === undefined) throw new Error("Mermaid is not installed on the server");
  mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: isDark ? "dark" : "default", fontFamily: "sans-serif" });
  const { svg } = await mermaid.render("diagram", text);
  const drawn = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
  if (drawn === null) throw new Error("nothing was drawn");
  document.body.replaceChildren(drawn);
  return Math.ceil(drawn.getBoundingClientRect().height);
}

addEventListener("message", async ({ source, data }) => {
  if (source !== parent) return;
  document.documentElement.style.colorScheme = data.isDark ? "dark" : "light";
  try {
    parent.postMessage({ height: await draw(data.text, data.isDark) }, "*");
  } catch (error) {
    parent.postMessage({ problem: error instanceof Error ? error.message : String(error) }, "*");
  }
});
parent.postMessage({ isReady: true }, "*");
