// Shows a JSON Schema of the document as a table of fields, with the schemas it refers to folded in beneath.
// Does not know routes.

import { element } from "../dom.js";
import { inline, markdown } from "./markdown.js";

/** @typedef {any} Json Part of the OpenAPI document, of whatever shape. */

const PREFIX = "#/components/schemas/";

// Bounds of machine integers, which say more as powers; JavaScript rounds the last ones.
const POWERS = new Map([[2 ** 31 - 1, "2³¹−1"], [2 ** 63, "2⁶³−1"], [-(2 ** 63), "−2⁶³"]]);

/** @typedef {{ schemas: Record<string, Json>, mark: string }} Scope By name, and the word for fields that must be there. */

/**
 * A fold for the schema called `name`; what is in it is made when it is first opened.
 * @param {Scope} scope
 * @param {string} name
 * @param {boolean} [open]
 */
export function schemaFold(scope, name, open = false) {
  const inside = element("div", { class: "inside" });
  const fold = element("details", {}, element("summary", {}, element("code", {}, name)), inside);
  const fill = () => {
    if (fold.open && !inside.hasChildNodes()) inside.append(...schemaBody(scope, scope.schemas[name] ?? {}, name));
  };
  fold.addEventListener("toggle", fill);
  fold.open = open;
  fill();
  return fold;
}

/**
 * The elements that describe `schema`: its text, and its fields if it is an object with known ones.
 * @param {Scope} scope
 * @param {Json} schema
 * @param {string} label
 */
export function schemaBody(scope, schema, label) {
  const text = markdown(schema.description, 4);
  return schema.properties ? [...text, fieldTable(scope, schema, label)] : text;
}

/**
 * @param {Scope} scope
 * @param {Json} schema
 * @param {string} label
 */
function fieldTable(scope, schema, label) {
  const required = new Set(schema.required ?? []);
  // What is required comes first; otherwise the order is the document's.
  const fields = Object.entries(schema.properties).sort((a, b) => Number(required.has(b[0])) - Number(required.has(a[0])));
  const columns = ["Field", "Type", "Bounds", "Default", "Description"];
  // Stylesheets that turn rows into blocks take a table's meaning from screen readers; the roles give it back.
  return element("table", { class: "fields", role: "table", "aria-label": `Fields of ${label}` },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" },
      columns.map((name) => element("th", { scope: "col", role: "columnheader" }, name)))),
    element("tbody", { role: "rowgroup" },
      fields.flatMap(([name, field]) => fieldRows(scope, name, field, required.has(name)))));
}

/**
 * @param {Scope} scope
 * @param {string} name
 * @param {Json} field
 * @param {boolean} isRequired
 */
function fieldRows(scope, name, field, isRequired) {
  /** @type {(column: string, ...content: (import("../dom.js").Child | import("../dom.js").Child[])[]) => HTMLElement} */
  const cell = (column, ...content) => element("td", { role: "cell", dataset: { column } }, ...content);
  const fallback = field.default === undefined || field.default === null ? null
    : element("code", {}, JSON.stringify(field.default));
  const row = element("tr", { role: "row" },
    element("th", { scope: "row", role: "rowheader" },
      element("code", {}, name), isRequired ? element("span", { class: "required" }, scope.mark) : null),
    cell("Type", typeText(field)),
    cell("Bounds", boundsOf(field).map((bound) => element("span", {}, bound))),
    cell("Default", fallback),
    cell("Description", ...inline((field.description ?? "").replace(/\n+/g, " "))));
  const names = [...new Set(referredNames(field))];
  if (!names.length) return [row];
  row.classList.add("has-more");
  return [row, element("tr", { role: "row", class: "more" },
    element("td", { role: "cell", colspan: "5" }, names.map((one) => schemaFold(scope, one))))];
}

/**
 * The type in words: `string or list of string`.
 * @param {Json} schema
 * @returns {string}
 */
export function typeText(schema) {
  if (schema.$ref) return schema.$ref.slice(PREFIX.length);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((/** @type {Json} */ one) => JSON.stringify(one)).join(" or ");
  const variants = variantsOf(schema);
  // A field that may be left out may be null too; saying so on each would hide where null means something.
  if (variants) {
    return variants.filter((/** @type {Json} */ one) => one.type !== "null" || schema.default === undefined).map(typeText).join(" or ");
  }
  if (schema.type === "array") return `list of ${schema.items ? typeText(schema.items) : "anything"}`;
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return `object of ${typeText(schema.additionalProperties)}`;
  }
  return schema.type ?? "anything";
}

/** @param {Json} schema */
function variantsOf(schema) {
  return schema.anyOf ?? schema.oneOf ?? schema.allOf;
}

/**
 * @param {Json} schema
 * @returns {string[]}
 */
function boundsOf(schema) {
  const own = [
    schema.exclusiveMinimum !== undefined ? `> ${number(schema.exclusiveMinimum)}` : null,
    span(schema.minimum, schema.maximum, ""),
    schema.exclusiveMaximum !== undefined ? `< ${number(schema.exclusiveMaximum)}` : null,
    span(schema.minLength, schema.maxLength, " characters"),
    span(schema.minItems, schema.maxItems, " items"),
    schema.pattern ? `matches ${schema.pattern}` : null,
  ];
  const each = [schema.items, schema.additionalProperties].filter((one) => typeof one === "object").flatMap(boundsOf);
  const inner = each.map((bound) => (bound.startsWith("each ") ? bound : `each ${bound}`));
  return [...new Set([...own.filter(Boolean), ...(variantsOf(schema) ?? []).flatMap(boundsOf), ...inner])];
}

/**
 * @param {number | undefined} from
 * @param {number | undefined} to
 * @param {string} unit
 */
function span(from, to, unit) {
  if (from === undefined) return to === undefined ? null : `≤ ${number(to)}${unit}`;
  if (to === undefined) return `≥ ${number(from)}${from === 1 ? unit.replace(/s$/, "") : unit}`;
  return `${number(from)} to ${number(to)}${unit}`;
}

/** @param {number} value */
function number(value) {
  return POWERS.get(value) ?? String(value).replace("-", "−");
}

/**
 * @param {Json} schema
 * @returns {string[]}
 */
function referredNames(schema) {
  if (schema.$ref) return [schema.$ref.slice(PREFIX.length)];
  return [...(variantsOf(schema) ?? []), schema.items, schema.additionalProperties]
    .filter((one) => typeof one === "object").flatMap(referredNames);
}
