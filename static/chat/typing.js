// What text boxes have in common: which key sends, and how high they are. Does not know what is typed.

const touch = matchMedia("(hover: none) and (pointer: coarse)");

/**
 * Enter sends, unless it ends the composition of a letter, as in Korean and Japanese, or a line is meant: with Shift, or
 * on a phone, whose keyboard has no Shift+Enter.
 * @param {KeyboardEvent} event
 */
export function isSend(event) {
  if (touch.matches) return false;
  // 229: Safari ends the composition before it tells of the key.
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/**
 * As high as the text; the style sheet sets the limit. A script may not set a style attribute here, but this it may.
 * @param {HTMLTextAreaElement} area
 */
export function fitHeight(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
