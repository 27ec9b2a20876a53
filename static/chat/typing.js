// What text boxes have in common: which key sends, and their height.

const touch = matchMedia("(hover: none) and (pointer: coarse)");

/**
 * Enter sends, except with Shift, on phones, which have no Shift+Enter, and while it ends an IME composition.
 * @param {KeyboardEvent} event
 */
export function isSend(event) {
  if (touch.matches) return false;
  // 229: Safari ends the composition before it reports the key.
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/** Whether the reader types on a screen. */
export function isTouch() {
  return touch.matches;
}

/**
 * Make a text box as high as its text; the style sheet sets the maximum.
 * @param {HTMLTextAreaElement} area
 */
export function fitHeight(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
