// Shows /openapi.json with Swagger UI.

import { byId, element } from "./dom.js";

/**
 * Swagger UI writes Markdown, which it has sanitized, as a string, and trusted types accept no string. Sanitize every
 * such string again instead of letting it through. The policy's name is reserved: browsers call it by themselves.
 */
async function sanitizeMarkup() {
  const factory = /** @type {any} */ (window).trustedTypes;
  if (!factory) return;
  const address = "./vendor/purify.js";
  const { default: purify } = await /** @type {Promise<typeof import("dompurify")>} */ (import(address));
  factory.createPolicy("default", { createHTML: (/** @type {string} */ text) => purify.sanitize(text) });
}

function followTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    const theme = document.documentElement.dataset.theme;
    document.documentElement.classList.toggle("dark-mode", theme === "dark" || (theme !== "light" && system.matches));
  };
  system.addEventListener("change", follow);
  follow();
}

async function show() {
  const swagger = /** @type {any} */ (window).SwaggerUIBundle;
  if (!swagger) throw new Error("Swagger UI is not installed");
  await sanitizeMarkup();
  followTheme();
  swagger({
    url: "openapi.json",
    domNode: byId("content"),
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    // There is one server to choose from: this one.
    plugins: [{ wrapComponents: { ServersContainer: () => () => null } }],
    // Upstream's validator would send the document to its own host.
    validatorUrl: null,
  });
}

show().catch((error) => {
  byId("content").replaceChildren(element("p", { class: "note" }, `${error.message}. Read `,
    element("a", { href: "openapi.json" }, "/openapi.json"), " instead."));
});
