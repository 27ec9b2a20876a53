// The frame of the page: the list of chats beside the conversation, or over it where there is no room. Does not know
// what is in either.

import { byId } from "../../dom.js";

const COLLAPSED = "twowire-collapsed";
const narrow = matchMedia("(max-width: 52rem)");

/** @type {HTMLElement | null} */
let focused = null;

/**
 * Open or close the list where it lies over the conversation; says whether that changed something. Where it stands
 * beside it, only opening does anything.
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

/** From now on, keep the frame as it should be. */
export function keepInView() {
  setCollapsed(read());
  for (const button of document.querySelectorAll("[data-toggles-chats]")) {
    button.addEventListener("click", () => {
      if (narrow.matches) toggleChats(!document.body.classList.contains("chats-open"));
      else setCollapsed(!document.body.classList.contains("chats-collapsed"));
    });
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
    // It holds as long as the page.
  }
  apply();
  if (isCollapsed && had) byId("menu").focus();
}

function apply() {
  const { classList } = document.body;
  const isHidden = narrow.matches ? !classList.contains("chats-open") : classList.contains("chats-collapsed");
  // What cannot be seen cannot be reached by the keyboard either.
  byId("sidebar").inert = isHidden;
  byId("stage").inert = narrow.matches && classList.contains("chats-open");
}
