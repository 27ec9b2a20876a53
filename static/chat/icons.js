// The icons, from `icons.svg`.

const FILE = new URL("icons.svg", import.meta.url).href;
const NAMESPACE = "http://www.w3.org/2000/svg";

/** @param {string} name The id of a symbol in `icons.svg`. */
export function icon(name) {
  const svg = document.createElementNS(NAMESPACE, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(NAMESPACE, "use");
  use.setAttribute("href", `${FILE}#${name}`);
  svg.append(use);
  return svg;
}

/** Draw the icons of the page's markup. @param {ParentNode} root */
export function drawIcons(root) {
  for (const place of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-icon]"))) {
    place.append(icon(place.dataset.icon ?? ""));
  }
}
