// The list of conversations: opens, searches, renames and deletes them.

import { byId, element } from "../../dom.js";
import { language, t } from "../i18n.js";
import { icon } from "../icons.js";
import { decimal } from "./message/answer-stats.js";

/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../state/conversations.js").Library} Library */
/** @typedef {import("../i18n.js").Word} Word */

/**
 * @typedef {object} Callbacks
 * @property {(id: string) => void} open
 * @property {(conversation: Conversation) => void} remove
 * @property {(conversation: Conversation) => void} save To a file.
 */

const DAY_MS = 86_400_000;
/** How often the last words of running answers are shown. */
const WORDS_EVERY_MS = 500;
const MAX_WORDS_LENGTH = 36;

export class Sidebar {
  #library;
  #callbacks;
  #current = "";
  /** The conversations that match the search; null without one. @type {Set<string> | null} */
  #found = null;
  #renaming = "";
  #isAsked = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #wordsTimer;

  /**
   * @param {Library} library
   * @param {Callbacks} callbacks
   */
  constructor(library, callbacks) {
    this.#library = library;
    this.#callbacks = callbacks;
    const search = byId("search");
    search.addEventListener("input", () => this.#search(search.value));
    search.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape" || search.value === "") return;
      event.stopPropagation();
      search.value = "";
      void this.#search("");
    });
    library.addEventListener("list", () => this.#draw());
    library.addEventListener("answer", () => {
      this.#wordsTimer ??= setTimeout(() => {
        this.#wordsTimer = undefined;
        this.#drawWords();
      }, WORDS_EVERY_MS);
    });
  }

  /** @param {string} id Of the shown conversation. */
  select(id) {
    this.#current = id;
    this.#draw();
  }

  /** @param {string} words */
  async #search(words) {
    const found = words.trim() === "" ? null : new Set((await this.#library.search(words)).map(({ id }) => id));
    // The text may have changed meanwhile.
    if (byId("search").value !== words) return;
    this.#found = found;
    this.#draw();
  }

  #draw() {
    if (this.#isAsked) return;
    this.#isAsked = true;
    // Once for all changes of this turn of the event loop.
    queueMicrotask(() => {
      this.#isAsked = false;
      if (this.#renaming === "") this.#drawNow();
    });
  }

  #drawNow() {
    const list = byId("conversations");
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    const at = focused && list.contains(focused) ? focused.dataset.focus : undefined;
    const shown = this.#library.conversations.filter(({ id }) => this.#found === null || this.#found.has(id))
      .sort((a, b) => Number(b.isPinned ?? false) - Number(a.isPinned ?? false));
    /** @type {Map<string, HTMLElement[]>} */
    const groups = new Map();
    for (const conversation of shown) {
      const name = conversation.isPinned ? t("pinned") : period(conversation.updated);
      const group = groups.get(name) ?? [];
      group.push(this.#row(conversation));
      groups.set(name, group);
    }
    list.replaceChildren(...[...groups].map(([name, rows]) =>
      element("section", {}, element("h2", {}, name), element("ul", {}, rows))));
    if (shown.length === 0) {
      list.append(element("p", { class: "nothing" }, t(this.#found === null ? "noConversations" : "nothingFound")));
    }
    if (at !== undefined) list.querySelector(`[data-focus="${at}"]`)?.focus();
  }

  /** @param {Conversation} conversation */
  #row(conversation) {
    const { id } = conversation;
    const title = conversation.title || t("untitled");
    const isCurrent = id === this.#current;
    const running = this.#library.running.filter(({ conversation: of }) => of === id);
    const isBusy = running.length > 0;
    /** @type {(name: string, word: Word, act: () => void) => HTMLElement} */
    const tool = (name, word, act) => element("button", { type: "button", class: "tool", title: t(word),
      "aria-label": t("of", { action: t(word), title }), dataset: { focus: `${word}-${id}` }, onclick: act }, icon(name));
    return element("li", { class: isCurrent ? "current" : null },
      element("a", { class: "open", href: `#/${id}`, "aria-current": isCurrent ? "page" : null, title,
        dataset: { focus: `open-${id}` }, onclick: (/** @type {MouseEvent} */ event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          this.#callbacks.open(id);
        } },
      element("span", { dir: "auto" }, title), isBusy ? element("span", { class: "busy", role: "img",
        "aria-label": t("answering") }) : conversation.isUnread ? element("span", { class: "unread", role: "img",
        "aria-label": t("unread") }) : null,
      // The link's name must not change with every word.
      isBusy ? element("span", { class: "words", "aria-hidden": "true", dataset: { of: id } },
        element("span", { dir: "auto" }, wordsOf(running)), element("span", {}, paceOf(running))) : null),
      isBusy ? tool("stop", "stop", () => { for (const message of running) this.#library.stop(message.id); }) : null,
      element("span", { class: "row-tools" },
        tool("pin", conversation.isPinned ? "unpin" : "pin",
          () => void this.#library.change(id, { isPinned: !conversation.isPinned })),
        tool("edit", "rename", () => this.#rename(conversation)),
        tool("save", "export", () => this.#callbacks.save(conversation)),
        tool("delete", "delete", () => this.#callbacks.remove(conversation))));
  }

  #drawWords() {
    for (const place of /** @type {NodeListOf<HTMLElement>} */ (byId("conversations").querySelectorAll(".words"))) {
      const running = this.#library.running.filter(({ conversation }) => conversation === place.dataset.of);
      for (const [index, text] of [wordsOf(running), paceOf(running)].entries()) {
        if (place.children[index].textContent !== text) place.children[index].textContent = text;
      }
    }
  }

  /** @param {Conversation} conversation */
  #rename({ id, title }) {
    const link = byId("conversations").querySelector(`[data-focus="open-${id}"]`);
    if (link === null) return;
    this.#renaming = id;
    const input = element("input", { type: "text", dir: "auto", maxlength: "80", "aria-label": t("newName") });
    input.value = title;
    let isOver = false;
    /** @param {boolean} isWanted */
    const end = (isWanted) => {
      if (isOver) return;
      isOver = true;
      this.#renaming = "";
      if (isWanted) void this.#library.rename(id, input.value);
      this.#drawNow();
      byId("conversations").querySelector(`[data-focus="open-${id}"]`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !event.isComposing) end(true);
      else if (event.key === "Escape") end(false);
    });
    input.addEventListener("blur", () => end(true));
    link.replaceWith(input);
    input.select();
  }
}

/**
 * The last words of a conversation's running answers.
 * @param {import("../types.js").Message[]} running
 */
function wordsOf(running) {
  const { text = "", answer } = running.at(-1) ?? {};
  const words = (text || (answer?.thoughts?.text ?? "")).slice(-2 * MAX_WORDS_LENGTH).replace(/\s+/g, " ").trim();
  if (words === "") return t("waiting");
  if (words.length <= MAX_WORDS_LENGTH) return words;
  // Not from the middle of a word, if there is a space.
  return `…${words.slice(-MAX_WORDS_LENGTH).replace(/^\S*\s/, "")}`;
}

/**
 * Tokens per second of a conversation's running answer; empty if they are not known. Each piece has at least one.
 * @param {import("../types.js").Message[]} running
 */
function paceOf(running) {
  const { answer } = running.at(-1) ?? {};
  const seconds = answer === undefined ? 0 : (answer.last - answer.first) / 1000;
  if (answer === undefined || answer.first === 0 || answer.wasInterrupted || seconds < 1) return "";
  return `≈ ${t("speed", { rate: decimal((answer.pieces - 1) / seconds) })}`;
}

/** @param {number} time */
function period(time) {
  const today = new Date().setHours(0, 0, 0, 0);
  if (time >= today) return t("today");
  if (time >= today - DAY_MS) return t("yesterday");
  if (time >= today - 7 * DAY_MS) return t("thisWeek");
  return new Date(time).toLocaleDateString(language(), { year: "numeric", month: "long" });
}
