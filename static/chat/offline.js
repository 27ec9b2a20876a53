// Installs the service worker, and asks the browser to keep the chats.

import { ROOT } from "./root.js";

/** Once per page, when nothing else is left to load. */
export async function installWorker() {
  if (navigator.serviceWorker === undefined) return;
  const address = new URL("service-worker.js", ROOT).href;
  const factory = /** @type {any} */ (window).trustedTypes;
  // With trusted types, the address of a script must come from a policy.
  const trusted = factory ? factory.createPolicy("twowire", { createScriptURL: () => address }).createScriptURL("") : address;
  // Refused in private windows, and with a certificate that the reader has only clicked through: nothing is lost.
  await navigator.serviceWorker.register(trusted).catch(() => {});
}

/** Browsers delete a site's data when the disk is full, unless they are asked not to. Some then ask the reader. */
export async function keepStorage() {
  const { storage } = navigator;
  if (storage?.persist === undefined || (await storage.persisted())) return;
  await storage.persist().catch(() => false);
}
