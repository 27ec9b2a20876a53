// The conversations and what can be done with them; tells when something changed. Does not know how they are shown.

import { Answers } from "./generations.js";
import { newId, newestLeaf, now, pathTo, siblings } from "./branches.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").Sampling} Sampling */

const MAX_TITLE = 80;

/**
 * Events: `list` (a conversation came, went, or has another title or state), `thread` (which messages are shown),
 * `answer` (an answer's text or state); the last two with the conversation's and the message's id in `detail`.
 */
export class Library extends EventTarget {
  #store;
  #answers;
  #defaults;
  /** @type {Map<string, Conversation>} */
  #conversations = new Map();
  /** The messages of the conversations that were looked at. @type {Map<string, Map<string, Message>>} */
  #loaded = new Map();
  /** Tells other tabs, and hears from them. */
  #tabs = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("twowire-chat");

  /**
   * @param {Store} store
   * @param {Connection} connection
   * @param {() => { model: string, sampling: Sampling }} defaults What new answers are asked for with.
   */
  constructor(store, connection, defaults) {
    super();
    this.#store = store;
    this.#defaults = defaults;
    this.#answers = new Answers(connection, store, {
      changed: (message) => this.#onAnswer(message),
      history: async (message) => pathTo(await this.load(message.conversation), message.parent),
    });
    this.#tabs?.addEventListener("message", ({ data }) => this.#onTab(data));
  }

  /** Read what is kept, and go on with the answers that were open. */
  async open() {
    for (const conversation of await this.#store.conversations()) this.#conversations.set(conversation.id, conversation);
    this.#tell("list");
    await this.#answers.restore();
  }

  get isKept() { return this.#store.isKept; }

  /** The last used first. */
  get conversations() { return [...this.#conversations.values()].sort((a, b) => b.updated - a.updated); }

  /** @param {string} id */
  conversation(id) { return this.#conversations.get(id); }

  /** @param {string} id Of a message. */
  isRunning(id) { return this.#answers.isRunning(id); }

  /** @param {string} conversation The answer that comes about in it, in the branch that is shown. */
  runningIn(conversation) {
    const shown = new Set(this.path(conversation).map(({ id }) => id));
    return this.#answers.running.find(({ id }) => shown.has(id));
  }

  /** @param {string} conversation */
  isBusy(conversation) { return this.#answers.running.some((message) => message.conversation === conversation); }

  /**
   * The messages of a conversation.
   * @param {string} conversation
   */
  async load(conversation) {
    const known = this.#loaded.get(conversation);
    if (known !== undefined) return known;
    const kept = await this.#store.messages(conversation);
    const messages = new Map(kept.map((message) => [message.id, message]));
    // What comes about now is ahead of what is kept.
    for (const message of this.#answers.running) {
      if (message.conversation === conversation) messages.set(message.id, message);
    }
    const meanwhile = this.#loaded.get(conversation);
    if (meanwhile !== undefined) return meanwhile;
    this.#loaded.set(conversation, messages);
    return messages;
  }

  /**
   * The branch that is shown, as far as it has been loaded.
   * @param {string} conversation
   */
  path(conversation) {
    const messages = this.#loaded.get(conversation);
    return messages === undefined ? [] : pathTo(messages, this.#conversations.get(conversation)?.leaf ?? null);
  }

  /** @param {Message} message */
  siblings(message) { return siblings(this.#loaded.get(message.conversation) ?? new Map(), message); }

  // -- asking --------------------------------------------------------------------------------------------------------

  /**
   * A question at the end of the conversation, or the first of a new one; returns the conversation's id.
   * @param {string | null} id
   * @param {string} text
   */
  async ask(id, text) {
    const conversation = (id === null ? undefined : this.#conversations.get(id)) ?? this.#create(id);
    await this.load(conversation.id);
    await this.#askAt(conversation, conversation.leaf, text);
    return conversation.id;
  }

  /**
   * Another question in place of `message`; both stay.
   * @param {Message} message
   * @param {string} text
   */
  async edit(message, text) {
    const conversation = this.#conversations.get(message.conversation);
    if (conversation !== undefined) await this.#askAt(conversation, message.parent, text);
  }

  /**
   * Another answer in place of `message`; both stay.
   * @param {Message} message
   */
  async regenerate(message) {
    const conversation = this.#conversations.get(message.conversation);
    if (conversation !== undefined) await this.#answer(conversation, message.parent, []);
  }

  /**
   * Go on at the end of an answer's text.
   * @param {Message} message
   */
  goOn(message) {
    const { answer } = message;
    if (answer === undefined || answer.state === "open") return;
    answer.state = "open";
    answer.error = null;
    answer.limitBase = answer.pieces;
    answer.wasInterrupted = true;
    this.#answers.start(message);
  }

  /** @param {string} id Of a message. */
  stop(id) {
    if (this.#answers.isRunning(id)) this.#answers.stop(id);
    else this.#tabs?.postMessage({ stop: id });
  }

  /**
   * Show the branch that `message` is in.
   * @param {Message} message
   */
  async choose(message) {
    const conversation = this.#conversations.get(message.conversation);
    const messages = this.#loaded.get(message.conversation);
    if (conversation === undefined || messages === undefined) return;
    conversation.leaf = newestLeaf(messages, message.id);
    this.#tell("thread", conversation.id);
    await this.#save([conversation], []);
  }

  // -- keeping -------------------------------------------------------------------------------------------------------

  /**
   * @param {string} id
   * @param {string} title
   */
  async rename(id, title) {
    const conversation = this.#conversations.get(id);
    if (conversation === undefined || title.trim() === "") return;
    conversation.title = title.trim().slice(0, MAX_TITLE);
    conversation.isNamed = true;
    this.#tell("list");
    await this.#save([conversation], []);
  }

  /**
   * Delete a conversation; what is returned puts it back.
   * @param {string} id
   */
  async remove(id) {
    const conversation = this.#conversations.get(id);
    if (conversation === undefined) return async () => {};
    const messages = [...(await this.load(id)).values()];
    for (const message of messages) {
      this.#answers.discard(message.id);
      if (message.answer?.state === "open") message.answer.state = "stopped";
    }
    this.#conversations.delete(id);
    this.#loaded.delete(id);
    this.#tell("list");
    await this.#store.remove(id);
    this.#tabs?.postMessage({ removed: id });
    return () => this.add([conversation], messages);
  }

  /**
   * Conversations from elsewhere.
   * @param {Conversation[]} conversations
   * @param {Message[]} messages
   */
  async add(conversations, messages) {
    for (const conversation of conversations) {
      this.#conversations.set(conversation.id, conversation);
      this.#loaded.delete(conversation.id);
    }
    await this.#save(conversations, messages);
    this.#tell("list");
  }

  /** Everything, for a file. */
  async everything() {
    return { conversations: this.conversations, messages: await this.#store.allMessages() };
  }

  /**
   * The conversations that have `words` in their title or text.
   * @param {string} words
   */
  async search(words) {
    const wanted = words.trim().toLocaleLowerCase().split(/\s+/);
    /** @type {Map<string, string>} */
    const texts = new Map(this.conversations.map(({ id, title }) => [id, title]));
    for (const { conversation, text } of await this.#store.allMessages()) {
      if (texts.has(conversation)) texts.set(conversation, `${texts.get(conversation)}\n${text}`);
    }
    return this.conversations.filter(({ id }) => {
      const text = (texts.get(id) ?? "").toLocaleLowerCase();
      return wanted.every((word) => text.includes(word));
    });
  }

  // -- within --------------------------------------------------------------------------------------------------------

  /** @param {string | null} id */
  #create(id) {
    const at = now();
    /** @type {Conversation} */
    const conversation = { id: id ?? newId(), title: "", isNamed: false, created: at, updated: at, leaf: null };
    this.#conversations.set(conversation.id, conversation);
    this.#loaded.set(conversation.id, new Map());
    return conversation;
  }

  /**
   * @param {Conversation} conversation
   * @param {string | null} parent
   * @param {string} text
   */
  async #askAt(conversation, parent, text) {
    /** @type {Message} */
    const question = { id: newId(), conversation: conversation.id, parent, role: "user", text, created: now() };
    if (!conversation.isNamed && parent === null) conversation.title = titleOf(text);
    await this.#answer(conversation, question.id, [question]);
  }

  /**
   * @param {Conversation} conversation
   * @param {string | null} parent
   * @param {Message[]} before
   */
  async #answer(conversation, parent, before) {
    const { model, sampling } = this.#defaults();
    const created = now();
    /** @type {Message} */
    const message = {
      id: newId(), conversation: conversation.id, parent, role: "assistant", text: "", created,
      answer: {
        state: "open", model, sampling, finish: null, error: null, cursor: null, pieces: 0, limitBase: 0, counted: 0,
        usage: null, sent: 0, first: 0, last: created, wasInterrupted: false, restarts: 0,
      },
    };
    const messages = await this.load(conversation.id);
    for (const one of [...before, message]) messages.set(one.id, one);
    conversation.leaf = message.id;
    conversation.updated = created;
    this.#tell("thread", conversation.id);
    this.#tell("list");
    // Kept before it is sent: a question is never lost, whatever becomes of the answer.
    await this.#save([conversation], [...before, message]);
    this.#answers.start(message);
  }

  /**
   * @param {Conversation[]} conversations
   * @param {Message[]} messages
   */
  async #save(conversations, messages) {
    await this.#store.save(conversations, messages);
    for (const { id } of conversations) this.#tabs?.postMessage({ changed: id });
  }

  /** @param {Message} message */
  #onAnswer(message) {
    this.#loaded.get(message.conversation)?.set(message.id, message);
    this.#tell("answer", message.conversation, message.id);
    if (message.text === "" || !this.isRunning(message.id)) {
      this.#tell("list");
      this.#tabs?.postMessage({ changed: message.conversation });
    }
  }

  /** @param {{ changed?: string, removed?: string, stop?: string }} told By another tab. */
  async #onTab({ changed, removed, stop }) {
    if (stop !== undefined) this.#answers.stop(stop);
    if (removed !== undefined) {
      this.#conversations.delete(removed);
      this.#loaded.delete(removed);
      this.#tell("list");
    }
    if (changed !== undefined && !this.isBusy(changed)) {
      for (const one of await this.#store.conversations()) this.#conversations.set(one.id, one);
      this.#loaded.delete(changed);
      this.#tell("list");
      this.#tell("thread", changed);
    }
  }

  /**
   * @param {"list" | "thread" | "answer"} type
   * @param {string} [conversation]
   * @param {string} [message]
   */
  #tell(type, conversation = "", message = "") {
    this.dispatchEvent(new CustomEvent(type, { detail: { conversation, message } }));
  }
}

/** @param {string} text A question. */
function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > MAX_TITLE ? `${line.slice(0, MAX_TITLE - 1)}…` : line;
}
