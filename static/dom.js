// Makes elements and copies text.

/** @typedef {string | Node | null | undefined | false} Child */

/**
 * Make an element with attributes, a `dataset`, listeners (`onclick`) and children. Nothing is parsed as markup.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  const wanted = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  node.append(.../** @type {(string | Node)[]} */ (wanted));
  return node;
}

/**
 * The element with this id, which must exist.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Copy `text` to the clipboard; resolves to whether that worked.
 * @param {string} text
 * @returns {Promise<boolean>}
 */
export async function writeClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages that came over plain HTTP from another machine have no clipboard API, but this still works.
    const area = element("textarea", { class: "off-screen", readonly: true, "aria-hidden": "true" });
    area.value = text;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    // Inside a dialog, nothing outside of it can be selected.
    (focused?.closest("dialog") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }
}

/**
 * Copy the text of `source`, or at least select it, and say so on `button` for a moment.
 * @param {Node} source
 * @param {HTMLElement} button
 */
async function copyText(source, button) {
  const label = button.dataset.label ?? button.textContent ?? "";
  button.dataset.label = label;
  const copied = await writeClipboard(source.textContent ?? "");
  if (!copied) getSelection()?.selectAllChildren(source);
  button.textContent = copied ? "Copied" : "Selected";
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = String(setTimeout(() => { button.textContent = label; }, 2000));
}

/**
 * Program text or JSON with a button to copy it.
 * @param {string} caption
 * @param {string} text
 */
export function codeBlock(caption, text) {
  const code = element("code", {}, text);
  const button = element("button", { type: "button", class: "copy", onclick: () => copyText(code, button) }, "Copy");
  return element("figure", {},
    element("figcaption", {}, element("span", {}, caption), button),
    // So that the keyboard can scroll it.
    element("pre", { tabindex: "0", "aria-label": caption }, code));
}
