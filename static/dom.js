// Makes elements, and copies text. Does not know any page.

/** An element with attributes, a `dataset`, listeners (`onclick`) and children, none of which is read as markup. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Copy the text of `source`, or at least select it, and say so on `button` for a moment. */
export async function copyText(source, button) {
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  button.textContent = (await write(source)) ? "Copied" : "Selected";
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => { button.textContent = label; }, 2000);
}

async function write(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    // Browsers hide the clipboard from pages that came over plain HTTP from another machine; the old way still works.
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}

/** Program text or JSON with a button to copy it. */
export function codeBlock(caption, text) {
  const code = element("code", {}, text);
  const button = element("button", { type: "button", class: "copy", onclick: () => copyText(code, button) }, "Copy");
  return element("figure", {},
    element("figcaption", {}, element("span", {}, caption), button),
    // So that the keyboard can scroll it.
    element("pre", { tabindex: "0", "aria-label": caption }, code));
}
