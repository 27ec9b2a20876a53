// The keyboard: which keys do what, wherever the focus is.

import { byId } from "../../dom.js";
import { t } from "../i18n.js";
import { toast } from "../toast.js";
import { switchChats, toggleChats } from "./shell.js";

/**
 * @typedef {object} Actions
 * @property {() => void} startNew
 * @property {() => void} stop The running answer.
 * @property {() => void} editLast
 * @property {() => void} copyLast
 * @property {() => boolean} hasSingleKeys Whether keys without a modifier do something.
 * @property {(isWanted: boolean) => void} setSingleKeys
 */

/** With Ctrl or Command. @type {Record<string, (actions: Actions) => void>} */
const COMMANDS = {
  "/": (actions) => void openSheet(actions),
  k: searchChats,
};
/** With Shift as well. @type {Record<string, (actions: Actions) => void>} */
const SHIFTED = {
  o: ({ startNew }) => startNew(),
  e: ({ editLast }) => editLast(),
  c: ({ copyLast }) => copyLast(),
  s: () => switchChats(),
};
/** Alone, while nothing is typed into. @type {Record<string, (actions: Actions) => void>} */
const SINGLE = {
  "/": () => byId("question").focus(),
  "?": (actions) => void openSheet(actions),
};

/** @param {Actions} actions */
export function listenForKeys(actions) {
  byId("open-shortcuts").addEventListener("click", () => void openSheet(actions));
  addEventListener("keydown", (event) => {
    const isInDialog = document.querySelector("dialog[open]") !== null;
    if (isInDialog || event.isComposing || event.altKey) return;
    if (event.key === "Escape") {
      if (!toggleChats(false)) actions.stop();
      return;
    }
    // Browsers that fill in a field send events without a key.
    const act = keysOf(event, actions)[(event.key ?? "").toLowerCase()];
    if (act === undefined) return;
    event.preventDefault();
    act(actions);
  });
}

/**
 * @param {KeyboardEvent} event
 * @param {Actions} actions
 */
function keysOf(event, { hasSingleKeys }) {
  // On some keyboards, the slash itself needs Shift.
  if (event.ctrlKey || event.metaKey) return event.shiftKey && event.key !== "/" ? SHIFTED : COMMANDS;
  return hasSingleKeys() && !isTyping(event.target) ? SINGLE : {};
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]") !== null;
}

function searchChats() {
  toggleChats(true);
  byId("search").focus();
}

/** @param {Actions} actions */
async function openSheet(actions) {
  try {
    const { ShortcutSheet } = await import("./settings/shortcut-sheet.js");
    new ShortcutSheet(actions).open();
  } catch (error) {
    console.warn("The list of shortcuts cannot be loaded:", error);
    toast(byId("toasts"), t("notLoaded"));
  }
}
