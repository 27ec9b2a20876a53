// The line below an answer that says whether it follows the format that was asked for.

import { element } from "../../../dom.js";
import { t } from "../../i18n.js";

/** @typedef {import("../../types.js").ResponseFormat} ResponseFormat */

/**
 * @typedef {object} Validator The part of the library that is used here. It runs no generated code.
 * @property {(value: unknown) => { valid: boolean, errors: Problem[] }} validate
 */

/** @typedef {{ keyword: string, instanceLocation: string, error: string }} Problem */

/** Longer ones would hold up the page. */
const MAX_CHECKED_LENGTH = 1_000_000;

/** @type {Promise<{ new (schema: object, draft: string): Validator } | null> | undefined} */
let loading;

/**
 * @param {string} text A whole answer.
 * @param {ResponseFormat | undefined} format
 * @returns {Promise<HTMLElement | null>} Null if no format was asked for.
 */
export async function verdictOn(text, format) {
  if (format === undefined) return null;
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return line("bad", t("answerNotJson", { reason: messageOf(error) }));
  }
  const schema = format.json_schema?.schema;
  loading ??= load();
  const Validator = schema === undefined || text.length > MAX_CHECKED_LENGTH ? null : await loading;
  if (schema === undefined || Validator === null) return line("good", t("answerIsJson"));
  try {
    const { valid, errors } = new Validator(schema, "2020-12").validate(value);
    if (valid) return line("good", t("answerMatches"));
    // The last one is at the place itself, the others at what contains it. Of a schema that is `false`, it says nothing.
    const { instanceLocation: place = "#", error = "" } = errors.findLast(({ keyword }) => keyword !== "false") ?? {};
    return line("bad", t("answerDiffers", { place: place.replace(/^#/, "") || "/", reason: error }));
  } catch (error) {
    return line("quiet", t("answerNotChecked", { reason: messageOf(error) }));
  }
}

async function load() {
  try {
    // Not a literal, so that the type checker does not look for a file that may be missing.
    const address = "../../../vendor/json-schema/index.js";
    return (await import(address)).Validator;
  } catch (error) {
    console.warn("Answers are not checked against their schema:", error);
    return null;
  }
}

/**
 * @param {"good" | "bad" | "quiet"} tone
 * @param {string} text
 */
function line(tone, text) {
  return element("p", { class: "verdict", dir: "auto", dataset: { tone } }, text);
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
