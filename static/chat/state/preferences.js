// The reader's settings and drafts, stored in the browser. The API key is stored only until the tab is closed.

/** @typedef {import("../types.js").Sampling} Sampling */

/**
 * @typedef {object} Preferences
 * @property {"system" | "light" | "dark"} theme
 * @property {"" | "en" | "ko"} language Empty: the browser's.
 * @property {string} model Empty: the server's first.
 * @property {Sampling} sampling
 * @property {Preset[]} presets
 * @property {boolean} singleKeys Whether shortcuts without a modifier do something.
 * @property {boolean} load Whether to show the server's load.
 */

/**
 * @typedef {object} Preset Settings that were saved under a name.
 * @property {string} name
 * @property {Sampling} sampling
 */

const NAME = "twowire-preferences";
const KEY = "twowire-key";
const DRAFTS = "twowire-draft-";

/** @type {Preferences} */
const DEFAULTS = { theme: "system", language: "", model: "", sampling: {}, presets: [], singleKeys: true, load: false };

/** @returns {Preferences} */
export function readPreferences() {
  try {
    const kept = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    return { ...DEFAULTS, ...kept, sampling: { ...kept.sampling } };
  } catch {
    return { ...DEFAULTS, sampling: {} };
  }
}

/**
 * Call `changed` when another tab has written the preferences, which are then in `preferences`.
 * @param {Preferences} preferences
 * @param {() => void} changed
 */
export function sharePreferences(preferences, changed) {
  addEventListener("storage", ({ key }) => {
    if (key !== NAME) return;
    Object.assign(preferences, readPreferences());
    changed();
  });
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
 * The draft for a conversation, or for a message that is being edited.
 * @param {string} of
 */
export function readDraft(of) {
  try {
    // This tab's own, if it has one: another tab may write another.
    return sessionStorage.getItem(DRAFTS + of) ?? localStorage.getItem(DRAFTS + of) ?? "";
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
  try {
    sessionStorage.setItem(DRAFTS + of, text);
  } catch {
    // As above.
  }
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
    // Full or forbidden: the value lasts as long as the page.
  }
}
