// Typesets formulas with KaTeX, which is loaded with the first one. Without it, they stay as they were written.

/**
 * @typedef {object} Katex The part of KaTeX that is used here.
 * @property {(formula: string, place: HTMLElement, options: object) => void} render
 */

const MAX_LENGTH = 5000;
const MAX_CACHED = 200;
const OPTIONS = { throwOnError: true, strict: "ignore", trust: false, maxSize: 20, maxExpand: 500 };

/** Undefined before it is asked for, null without it. @type {Katex | null | undefined} */
let katex;
/** @type {Promise<void> | undefined} */
let loading;
/** Typeset formulas by their source: a growing block is drawn again and again. @type {Map<string, HTMLElement>} */
const cache = new Map();

/**
 * Typeset the formula in `place`, whose text is its source with its delimiters; now or once KaTeX is loaded.
 * @param {HTMLElement} place
 */
export function typeset(place) {
  if (katex !== undefined) return draw(place);
  loading ??= load();
  void loading.then(() => draw(place));
}

async function load() {
  try {
    // Not a literal, so that the type checker does not look for a file that may be missing.
    const address = "../../vendor/katex/katex.min.js";
    await Promise.all([styled(), import(address)]);
    katex = /** @type {any} */ (globalThis).katex ?? null;
  } catch (error) {
    katex = null;
    console.warn("Formulas are shown as they were written:", error);
  }
}

/** Without its style sheet, a formula would be shown twice. */
function styled() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("../../vendor/katex/katex.min.css", import.meta.url).href;
  return new Promise((resolve, reject) => {
    link.onload = resolve;
    link.onerror = () => reject(new Error("the style sheet is missing"));
    document.head.append(link);
  });
}

/** @param {HTMLElement} place */
function draw(place) {
  const source = place.textContent ?? "";
  if (!katex || source.length > MAX_LENGTH || place.classList.contains("typeset")) return;
  let made = cache.get(source);
  if (made === undefined) {
    made = document.createElement("span");
    const isBlock = source.startsWith("$$") || source.startsWith("\\[");
    const width = source.startsWith("$") && !isBlock ? 1 : 2;
    try {
      katex.render(source.slice(width, -width), made, { ...OPTIONS, displayMode: isBlock });
    } catch {
      // Not a formula after all, or one that KaTeX does not know.
      return;
    }
    if (cache.size >= MAX_CACHED) cache.clear();
    cache.set(source, made);
  }
  place.replaceChildren(.../** @type {HTMLElement} */ (made.cloneNode(true)).childNodes);
  place.classList.add("typeset");
}
