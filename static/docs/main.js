// The documentation page: shows /openapi.json for reading. Does not know any route before it has read that.

import { byId, codeBlock, element } from "../dom.js";
import { inline, markdown } from "./markdown.js";
import { schemaBody, schemaFold, typeText } from "./schema.js";

/** @typedef {any} Json Part of the OpenAPI document, of whatever shape. */

const METHODS = ["get", "post", "put", "patch", "delete"];
const SCHEMAS = "#/components/schemas/";

async function show() {
  let openapi;
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`it answered ${answer.status}`);
    openapi = await answer.json();
  } catch (error) {
    byId("version").textContent = `/openapi.json could not be read (${String(error)}). Reload the page to try again.`;
    return;
  }
  byId("version").replaceChildren(`twowire ${openapi.info.version}, described by `,
    element("a", { href: "/openapi.json" }, "/openapi.json"), ` (OpenAPI ${openapi.openapi})`);
  const groups = openapi.tags.map((/** @type {Json} */ tag) => ({ ...tag, operations: operationsOf(openapi, tag.name) }));
  const [introduction, chapters] = descriptionOf(openapi);
  // What the description has under headings (the errors) is for looking up, so it stands behind the routes.
  byId("document").append(...introduction, ...groups.map((/** @type {Json} */ group) => groupSection(openapi, group)), ...chapters);
  byId("routes").append(...groups.map(groupLinks), chapterLinks(chapters));
  keepRoutesOpenWhereThereIsRoom();
  // The browser looked for the address's place before it was there.
  if (location.hash) byId(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

/**
 * @param {Json} openapi
 * @param {string} tag
 */
function operationsOf(openapi, tag) {
  return Object.entries(openapi.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method])
    .map((method) => ({ path, method, shared: item.parameters ?? [], ...item[method] })))
    .filter((operation) => operation.tags.includes(tag));
}

/** @param {Json} openapi */
function descriptionOf(openapi) {
  const parts = markdown(openapi.info.description, 1);
  for (const heading of parts.filter(isHeading)) heading.id = heading.textContent.toLowerCase().replace(/\W+/g, "-");
  const guarded = Object.values(openapi.paths).some((item) => METHODS.some((method) => item[method]?.security?.length));
  const key = guarded
    ? inline("This server asks for an API key on the routes marked “key”: `Authorization: Bearer KEY`.")
    : ["This server asks for no API key."];
  const at = parts.findIndex(isHeading);
  const end = at < 0 ? parts.length : at;
  return [[...parts.slice(0, end), element("p", {}, key)], parts.slice(end)];
}

/** @param {Element} node */
function isHeading(node) {
  return node.tagName === "H2";
}

// -- the list of routes -----------------------------------------------------------------------------------------------

/** @param {Json} group */
function groupLinks(group) {
  /** @type {(operation: Json) => HTMLElement} */
  const link = (operation) => element("li", {}, element("a", { href: `#${operation.operationId}` },
    method(operation), element("span", { class: "path" }, ...breakable(operation.path))));
  return element("section", {}, element("h2", {}, group.name), element("ul", {}, group.operations.map(link)));
}

/** @param {Element[]} chapters */
function chapterLinks(chapters) {
  return element("ul", { class: "chapters" }, chapters.filter(isHeading).map((heading) =>
    element("li", {}, element("a", { href: `#${heading.id}` }, heading.textContent))));
}

function keepRoutesOpenWhereThereIsRoom() {
  const roomy = matchMedia("(min-width: 64rem)");
  const follow = () => { byId("routes-fold").open = roomy.matches; };
  roomy.addEventListener("change", follow);
  follow();
  byId("routes").addEventListener("click", (/** @type {Json} */ event) => {
    if (event.target.closest("a") && !roomy.matches) byId("routes-fold").open = false;
  });
}

/** @param {Json} operation */
function method(operation) {
  return element("span", { class: "method", dataset: { method: operation.method } }, operation.method.toUpperCase());
}

// A long path may break after each slash, and nowhere else.
/** @param {string} path */
function breakable(path) {
  return path.split(/(?<=\/)/).flatMap((part, index) => (index ? [element("wbr"), part] : [part]));
}

// -- one group, one route ---------------------------------------------------------------------------------------------

/**
 * @param {Json} openapi
 * @param {Json} group
 */
function groupSection(openapi, group) {
  return element("section", { class: "group" }, element("h2", {}, group.name), ...markdown(group.description, 3),
    group.operations.map((/** @type {Json} */ operation) => operationSection(openapi, operation)));
}

/**
 * @param {Json} openapi
 * @param {Json} operation
 */
function operationSection(openapi, operation) {
  const body = operation.requestBody?.content["application/json"];
  const examples = Object.entries(body?.examples ?? {});
  const title = element("h3", {},
    element("a", { href: `#${operation.operationId}` },
      method(operation), element("code", {}, ...breakable(operation.path))),
    operation.security?.length ? element("span", { class: "key" }, "key") : null);
  return element("article", { id: operation.operationId },
    title,
    element("p", { class: "summary" }, operation.summary),
    ...markdown(operation.description, 4),
    ...parametersPart(openapi, operation),
    body ? [element("h4", {}, "Request"), ...requestFields(openapi, body.schema)] : null,
    examples.map(([name, example]) => fold(`Example: ${name.toLowerCase()}`,
      () => [codeBlock(`${operation.method.toUpperCase()} ${operation.path}`, pretty(example.value))])),
    element("h4", {}, "Responses"),
    responseList(openapi, operation.responses));
}

/**
 * @param {Json} openapi
 * @param {Json} operation
 */
function parametersPart(openapi, operation) {
  const parameters = [...(operation.parameters ?? []), ...operation.shared].map((one) => resolved(openapi, one));
  const properties = Object.fromEntries(parameters.filter((one) => one.in === "path")
    .map((one) => [one.name, { ...one.schema, description: one.description }]));
  if (!Object.keys(properties).length) return [];
  const schema = { properties, required: Object.keys(properties) };
  return [element("h4", {}, "In the path"), ...schemaBody(asked(openapi), schema, operation.path)];
}

/**
 * @param {Json} openapi
 * @param {Json} schema
 */
function requestFields(openapi, schema) {
  const name = schema.$ref?.slice(SCHEMAS.length);
  return schemaBody(asked(openapi), name ? openapi.components.schemas[name] : schema, name ?? "the request");
}

/**
 * @param {Json} openapi
 * @param {Json} responses
 */
function responseList(openapi, responses) {
  const rows = Object.entries(responses).map(([status, response]) =>
    element("div", { dataset: { kind: status[0] } },
      element("dt", {}, element("span", { class: "status" }, status)),
      element("dd", {}, ...markdown(response.description, 4), headersLine(response),
        isError(response) ? null
          : Object.entries(response.content ?? {}).map(([type, media]) => mediaFold(openapi, type, media)))));
  // The errors have one body, so it is shown once for all of them.
  const errors = Object.values(responses).some(isError);
  return [element("dl", { class: "responses" }, rows), errors ? schemaFold(answered(openapi), "ErrorResponse") : null];
}

/** @param {Json} response */
function isError(response) {
  return response.content?.["application/json"]?.schema.$ref === `${SCHEMAS}ErrorResponse`;
}

// What the word beside a field means depends on who sends it.
/** @param {Json} openapi */
const asked = (openapi) => ({ schemas: openapi.components.schemas, mark: "required" });
/** @param {Json} openapi */
const answered = (openapi) => ({ schemas: openapi.components.schemas, mark: "always" });

// The label is on every answer, and the introduction says so.
/** @param {Json} response */
function headersLine(response) {
  const names = Object.keys(response.headers ?? {}).filter((name) => name !== "X-Request-Id");
  if (!names.length) return null;
  const list = names.map((name) => `\`${name}\``).join(", ");
  return element("p", { class: "quiet" }, ...inline(`Header: ${list}`));
}

/**
 * @param {Json} openapi
 * @param {string} type
 * @param {Json} media
 */
function mediaFold(openapi, type, media) {
  const scope = answered(openapi);
  const name = media.schema.$ref?.slice(SCHEMAS.length);
  /** @type {string[]} */
  const events = (media["x-event-data"]?.oneOf ?? []).filter((/** @type {Json} */ one) => one.$ref)
    .map((/** @type {Json} */ one) => one.$ref.slice(SCHEMAS.length));
  if (!name && !events.length && !media.schema.properties) {
    return element("p", { class: "quiet" }, element("code", {}, type), ` ${typeText(media.schema)}`);
  }
  const example = typeof media.example === "string" ? media.example.trimEnd() : pretty(media.example);
  return fold([element("code", {}, type), name ? ` ${name}` : ""], () => [
    ...schemaBody(scope, name ? scope.schemas[name] : media.schema, name ?? type),
    ...events.map((one) => schemaFold(scope, one)),
    ...(media.example === undefined ? [] : [codeBlock("Example", example)]),
  ]);
}

/**
 * @param {import("../dom.js").Child | import("../dom.js").Child[]} summary
 * @param {() => Element[]} content
 */
function fold(summary, content) {
  const inside = element("div", { class: "inside" });
  const node = element("details", {}, element("summary", {}, summary), inside);
  node.addEventListener("toggle", () => { if (node.open && !inside.hasChildNodes()) inside.append(...content()); });
  return node;
}

/**
 * @param {Json} openapi
 * @param {Json} reference
 */
function resolved(openapi, reference) {
  if (!reference.$ref) return reference;
  return reference.$ref.slice(2).split("/").reduce((/** @type {Json} */ node, /** @type {string} */ key) => node[key], openapi);
}

/** @param {Json} value */
function pretty(value) {
  return JSON.stringify(value, null, 2);
}

show();
