// What the reader has set: how it looks, and with what questions are sent. Kept in the browser; the API key only as long
// as the tab is open. Does not know how any of it is shown.

/** @typedef {import("../types.js").Sampling} Sampling */

/**
 * @typedef {object} Preferences
 * @property {"system" | "light" | "dark"} theme
 * @property {"" | "en" | "ko"} language Empty: the browser's.
 * @property {string} model Empty: the server's first.
 * @property {Sampling} sampling
 */

const NAME = "twowire-preferences";
const KEY = "twowire-key";
const DRAFTS = "twowire-draft-";

/** @type {Preferences} */
const DEFAULTS = { theme: "system", language: "", model: "", sampling: {} };

/** @returns {Preferences} */
export function readPreferences() {
  try {
    const kept = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    return { ...DEFAULTS, ...kept, sampling: { ...kept.sampling } };
  } catch {
    return { ...DEFAULTS, sampling: {} };
  }
}

/** @param {Preferences} preferences */
export function writePreferences(preferences) {
  write(localStorage, NAME, JSON.stringify(preferences));
}

export function readKey() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** @param {string} key */
export function writeKey(key) {
  write(sessionStorage, KEY, key);
}

/**
 * What was typed and not sent.
 * @param {string} of A conversation or a message that is edited.
 */
export function readDraft(of) {
  try {
    return localStorage.getItem(DRAFTS + of) ?? "";
  } catch {
    return "";
  }
}

/**
 * @param {string} of
 * @param {string} text
 */
export function writeDraft(of, text) {
  write(localStorage, DRAFTS + of, text);
}

/**
 * @param {Storage} storage
 * @param {string} name
 * @param {string} text Empty removes it.
 */
function write(storage, name, text) {
  try {
    if (text) storage.setItem(name, text);
    else storage.removeItem(name);
  } catch {
    // Full, or forbidden: it holds as long as the page.
  }
}
