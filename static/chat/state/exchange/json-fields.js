// Reads the fields of settings that are JSON or lists in the API. Each throws an error that says what is wrong.

import { t } from "../../i18n.js";
import { isObject, parsed } from "../tools.js";

/** @typedef {import("../../types.js").ResponseFormat} ResponseFormat */

const MODES = ["auto", "none", "required"];
const MAX_BIASES = 1024;
const MAX_BIAS = 100;
const TOKEN_ID = /^(?:0|[1-9]\d{0,9})$/;
const OWN_NAME = "answer";

/**
 * The format of answers: a JSON schema, or `response_format` as the API takes it.
 * @param {string} text
 * @returns {ResponseFormat}
 */
export function formatFrom(text) {
  const given = parsed(text);
  if (!isObject(given)) throw new Error(t("schemaNoObject"));
  if (given.type === "json_object") return given;
  if (given.type !== "json_schema") return { type: "json_schema", json_schema: { name: OWN_NAME, schema: given } };
  if (!isObject(given.json_schema?.schema)) throw new Error(t("formatWithoutSchema"));
  return given;
}

/** The text that `formatFrom` reads. @param {ResponseFormat} format */
export function formatText(format) {
  const { json_schema: described } = format;
  const isBare = described?.name === OWN_NAME && Object.keys(described).length === 2;
  return JSON.stringify(isBare ? described.schema : format, null, 2);
}

/**
 * `tool_choice`: a word, the name of a function, or JSON as the API takes it.
 * @param {string} text
 * @returns {string | object}
 */
export function choiceFrom(text) {
  const given = text.trim();
  if (MODES.includes(given)) return given;
  if (given.startsWith("{")) return parsed(given);
  return { type: "function", function: { name: given } };
}

/** @param {any} choice */
export function choiceText(choice) {
  if (typeof choice === "string") return choice;
  const name = choice?.type === "function" ? choice.function?.name : undefined;
  return typeof name === "string" ? name : JSON.stringify(choice);
}

/**
 * `logit_bias`: numbers by token ids.
 * @param {string} text
 * @returns {Record<string, number>}
 */
export function biasFrom(text) {
  const given = parsed(text);
  if (!isObject(given)) throw new Error(t("biasNoObject"));
  const entries = Object.entries(given);
  if (entries.length > MAX_BIASES) throw new Error(t("tooManyBiases", { count: MAX_BIASES }));
  for (const [id, bias] of entries) {
    if (!TOKEN_ID.test(id)) throw new Error(t("biasKey", { id }));
    if (typeof bias !== "number" || Math.abs(bias) > MAX_BIAS) throw new Error(t("biasValue", { id, max: MAX_BIAS }));
  }
  return given;
}

/**
 * Token ids with commas or spaces between them.
 * @param {string} text
 * @param {number} max How many there may be.
 */
export function idsFrom(text, max) {
  const ids = text.split(/[\s,]+/).filter(Boolean);
  const wrong = ids.find((id) => !TOKEN_ID.test(id));
  if (wrong !== undefined) throw new Error(t("biasKey", { id: wrong }));
  if (ids.length > max) throw new Error(t("tooManyBiases", { count: max }));
  return ids.map(Number);
}
