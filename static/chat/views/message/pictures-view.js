// Shows images: those of a question, and those that the next one will carry.

import { element } from "../../../dom.js";
import { t } from "../../i18n.js";
import { icon } from "../../icons.js";

/** @typedef {import("../../types.js").Picture} Picture */

/**
 * @param {Picture[]} pictures
 * @param {(picture: Picture) => void} [remove] For a button on each.
 */
export function picturesView(pictures, remove) {
  return element("div", { class: "pictures" }, pictures.map((picture) => {
    const { url, name, width, height } = picture;
    return element("span", {},
      element("img", { src: url, alt: name || t("image"), title: name, width: width || null, height: height || null, loading: "lazy" }),
      remove && element("button", { type: "button", class: "tool", "aria-label": t("removeImage", { name }),
        title: t("removeImage", { name }), onclick: () => remove(picture) }, icon("close")));
  }));
}
