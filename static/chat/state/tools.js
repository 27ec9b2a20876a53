// Reads the tools that the reader declares as JSON.

import { t } from "../i18n.js";

const MAX_TOOLS = 128;
const NAME = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * The tools of a JSON text: a list as the API takes it, or of functions alone. Throws an error that says what is wrong.
 * @param {string} text
 * @returns {object[]}
 */
export function toolsFrom(text) {
  const given = parsed(text);
  if (!Array.isArray(given)) throw new Error(t("toolsNoList"));
  if (given.length > MAX_TOOLS) throw new Error(t("tooManyTools", { count: MAX_TOOLS }));
  const names = new Set();
  return given.map((one, index) => {
    const tool = one?.type === undefined && typeof one?.name === "string" ? { type: "function", function: one } : one;
    const at = { number: index + 1 };
    if (tool?.type !== "function" && tool?.type !== "custom") throw new Error(t("toolWithoutType", at));
    const described = tool[tool.type];
    const name = described?.name;
    if (typeof name !== "string" || !NAME.test(name)) throw new Error(t("toolWithoutName", at));
    if (names.has(name)) throw new Error(t("toolTwice", { name }));
    names.add(name);
    const { parameters } = described;
    if (parameters !== undefined && !isObject(parameters)) throw new Error(t("toolParameters", { name }));
    return tool;
  });
}

/** What JSON says; throws an error that says what is wrong. @param {string} text */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(t("notJson", { reason: error instanceof Error ? error.message : String(error) }));
  }
}

/** @param {unknown} value */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
