// The list of chats: beside the conversation, or over it on narrow screens.

import { byId } from "../../dom.js";

const COLLAPSED = "twowire-collapsed";
const narrow = matchMedia("(max-width: 52rem)");

/** @type {HTMLElement | null} */
let focused = null;

/**
 * Open or close the list over the conversation; returns whether that changed anything. On wide screens, where it is
 * beside the conversation, this only opens it.
 * @param {boolean} isOpen
 */
export function toggleChats(isOpen) {
  const { classList } = document.body;
  if (!narrow.matches) {
    if (isOpen) setCollapsed(false);
    return false;
  }
  if (classList.contains("chats-open") === isOpen) return false;
  classList.toggle("chats-open", isOpen);
  apply();
  if (isOpen) {
    focused = /** @type {HTMLElement | null} */ (document.activeElement);
    byId("new").focus();
  } else if (byId("sidebar").contains(document.activeElement) || document.activeElement === document.body) {
    (focused ?? byId("menu")).focus();
  }
  return true;
}

/** Show the list if it is hidden, and hide it if it is shown. */
export function switchChats() {
  const { classList } = document.body;
  if (narrow.matches) toggleChats(!classList.contains("chats-open"));
  else setCollapsed(!classList.contains("chats-collapsed"));
}

/** Follow the buttons and the width of the window from now on. */
export function keepInView() {
  setCollapsed(read());
  for (const button of document.querySelectorAll("[data-toggles-chats]")) {
    button.addEventListener("click", switchChats);
  }
  narrow.addEventListener("change", () => {
    document.body.classList.remove("chats-open");
    apply();
  });
  apply();
}

function read() {
  try {
    return localStorage.getItem(COLLAPSED) === "yes";
  } catch {
    return false;
  }
}

/** @param {boolean} isCollapsed */
function setCollapsed(isCollapsed) {
  const had = byId("sidebar").contains(document.activeElement);
  document.body.classList.toggle("chats-collapsed", isCollapsed);
  try {
    localStorage.setItem(COLLAPSED, isCollapsed ? "yes" : "no");
  } catch {
    // It lasts as long as the page.
  }
  apply();
  if (isCollapsed && had) byId("menu").focus();
}

function apply() {
  const { classList } = document.body;
  const isHidden = narrow.matches ? !classList.contains("chats-open") : classList.contains("chats-collapsed");
  // The keyboard must not reach what is hidden.
  byId("sidebar").inert = isHidden;
  byId("stage").inert = narrow.matches && classList.contains("chats-open");
}
