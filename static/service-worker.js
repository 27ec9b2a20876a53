// Opens the chat without a network. With one, the page always comes from the server: only files whose address contains
// the digest of their content are taken from the cache, so no old code can be mixed with new.
//
// The server puts the digest in. A service worker with another digest is another script, which browsers install.

/** A ServiceWorkerGlobalScope, for which the type checker has no types beside those of pages. @type {any} */
const worker = self;
const CACHE = "twowire-DIGEST";
const FILES = new URL("static/DIGEST/", worker.registration.scope).href;
const PAGE = worker.registration.scope;
/** So that a slow network does not look like none. */
const PAGE_TIMEOUT_MS = 15_000;

worker.addEventListener("install", (/** @type {any} */ event) => {
  event.waitUntil(keepPage().then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil(removeOthers().then(() => worker.clients.claim()));
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  const address = request.url.split(/[?#]/)[0];
  if (request.mode === "navigate" && address === PAGE) event.respondWith(page(request));
  else if (address.startsWith(FILES)) event.respondWith(file(request));
});

/** Keep the page with all that it loads at its start. */
async function keepPage() {
  const cache = await caches.open(CACHE);
  const answer = await fetch(PAGE, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`the page is ${answer.status}`);
  const text = await answer.clone().text();
  const addresses = [...text.matchAll(/(?:href|src)="(static\/[^"#]+)"/g)].map(([, found]) => new URL(found, PAGE).href);
  await Promise.all([...new Set(addresses)].map(async (address) => {
    const file = await fetch(address);
    // The next load of the page tries again.
    if (!isPermanent(file)) throw new Error(`${address} is ${file.status}, or of another version`);
    await cache.put(address, file);
  }));
  await cache.put(PAGE, answer);
}

async function removeOthers() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith("twowire-") && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

/** @param {Request} request */
async function page(request) {
  try {
    return await fetch(request, { signal: AbortSignal.timeout(PAGE_TIMEOUT_MS) });
  } catch (error) {
    const kept = await (await caches.open(CACHE)).match(PAGE);
    if (kept !== undefined) return kept;
    throw error;
  }
}

/** @param {Request} request */
async function file(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request);
  if (kept !== undefined) return kept;
  const answer = await fetch(request);
  if (isPermanent(answer)) await cache.put(request, answer.clone());
  return answer;
}

/**
 * Whether an answer has the content that its address names: while the server is updated, another version may answer.
 * @param {Response} answer
 */
function isPermanent(answer) {
  return answer.ok && (answer.headers.get("Cache-Control") ?? "").includes("immutable");
}
