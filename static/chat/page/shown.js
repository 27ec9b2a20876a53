// Which conversation is shown, and what can be done with it.

import { byId, writeClipboard } from "../../dom.js";
import { t } from "../i18n.js";
import { toast } from "../toast.js";

/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../types.js").Message} Message */

/**
 * @typedef {object} Changes What may happen to it.
 * @property {() => void} removed
 * @property {() => void} listed The list of all conversations has changed.
 * @property {() => void} changed Its messages are others.
 * @property {(message: Message, isNewStage: boolean) => void} answered An answer has grown, by a token, or has reached a new
 *   stage: it began, its first text came, it ended.
 */

export class Shown {
  #library;
  #connection;
  /** Null for a new conversation. @type {string | null} */
  id = null;
  /** Of the answer that has grown or ended last: which, whether it runs, and whether it waits for its first text. */
  #stage = "";

  /**
   * @param {import("../state/conversations.js").Library} library
   * @param {import("../state/connection.js").Connection} connection
   */
  constructor(library, connection) {
    this.#library = library;
    this.#connection = connection;
  }

  /** Undefined for a new one, and for one that was deleted. */
  get conversation() { return this.id === null ? undefined : this.#library.conversation(this.id); }

  /** Its messages, as far as they are loaded. @returns {Message[]} */
  get path() { return this.id === null ? [] : this.#library.path(this.id); }

  /** Its answer that is being generated. */
  get running() { return this.id === null ? undefined : this.#library.runningIn(this.id); }

  /** Its last message of this role. @param {Message["role"]} role */
  last(role) { return this.path.findLast((message) => message.role === role); }

  /** Tell the library what the reader sees, so that the rest counts as unread. */
  mark() {
    this.#library.shown = document.hidden ? null : this.id;
  }

  /** Call back on what happens to it. @param {Changes} changes */
  follow({ removed, listed, changed, answered }) {
    this.#library.addEventListener("list", () => {
      if (this.id !== null && this.conversation === undefined) removed();
      listed();
    });
    this.#library.addEventListener("thread", async (event) => {
      const { conversation } = /** @type {CustomEvent} */ (event).detail;
      if (conversation !== this.id) return;
      await this.#library.load(conversation);
      if (conversation === this.id) changed();
    });
    this.#library.addEventListener("answer", (event) => {
      const { conversation, message: id } = /** @type {CustomEvent} */ (event).detail;
      if (conversation !== this.id) return;
      const message = this.#library.message(conversation, id);
      if (message === undefined) return;
      const stage = `${id} ${this.#library.isRunning(id)} ${message.answer?.pieces === 0}`;
      const isNewStage = stage !== this.#stage;
      this.#stage = stage;
      answered(message, isNewStage);
    });
    document.addEventListener("visibilitychange", () => {
      this.mark();
      if (this.id !== null && !document.hidden) void this.#library.change(this.id, { isUnread: false });
    });
  }

  /**
   * Delete a conversation, which can be undone for a while.
   * @param {Conversation} conversation Any one.
   * @param {() => void} startNew Called if it is the shown one.
   */
  async remove(conversation, startNew) {
    const restore = await this.#library.remove(conversation.id);
    if (this.id === conversation.id) startNew();
    const title = conversation.title || t("untitled");
    toast(byId("toasts"), t("deleted", { title }), { label: t("undo"), act: () => void restore() });
  }

  async copyLast() {
    const last = this.last("assistant");
    if (last === undefined || last.text === "") return;
    toast(byId("toasts"), t((await writeClipboard(last.text)) ? "answerCopied" : "notCopied"));
  }

  /** Stop its answers. */
  stop() {
    for (const { id, answer } of this.path) if (answer?.state === "open") this.#library.stop(id);
  }

  /**
   * While a question is typed, have the server read what goes before it.
   * @param {import("../state/answer-choice.js").AnswerChoice} choice
   */
  async readAhead(choice) {
    if (!this.#connection.channel.limits.max_prefills) return;
    const prefill = await import("../state/running/prefill.js");
    prefill.readAhead(this.#connection.channel, () => {
      const { path } = this;
      return path.some(({ answer }) => answer?.state === "open") ? null : { model: choice.model, sampling: choice.sampling, path };
    });
  }

  /** Open the wire inspector, or close it. @param {HTMLElement} button */
  async inspect(button) {
    const { toggleInspector } = await import("../inspector/drawer.js");
    void toggleInspector(button, this.#connection, (id) => {
      return this.path.find(({ answer }) => answer?.cursor?.id === id)?.answer?.cursor?.follow;
    });
  }
}
