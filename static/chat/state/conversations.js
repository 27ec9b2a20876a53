// The conversations and everything that can be done with them. Dispatches an event when something changes.

import { Following } from "./running/following.js";
import { Answers } from "./running/generations.js";
import { newId, newestLeaf, pathTo, siblings } from "./branches.js";
import { LoadedMessages } from "./loaded.js";
import { MAX_TITLE, matching, newConversation } from "./messages.js";
import { Questions } from "./questions.js";
import { Tabs } from "./running/tabs.js";

/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("./questions.js").Asked} Asked */

/**
 * Events: `list` (a conversation was added or removed, or its title or state changed), `thread` (other messages are
 * shown) and `answer` (its text or state changed), with the ids of the conversation and the message in `detail`.
 */
export class Library extends EventTarget {
  #store;
  #answers;
  #following;
  #questions;
  /** @type {Map<string, Conversation>} */
  #conversations = new Map();
  #loaded;
  /** The conversation that the reader sees. @type {string | null} */
  shown = null;
  #tabs = new Tabs((message) => this.#onTab(message));

  /**
   * @param {Store} store
   * @param {Connection} connection
   * @param {() => Asked} defaults For new answers.
   */
  constructor(store, connection, defaults) {
    super();
    this.#store = store;
    this.#loaded = new LoadedMessages(store, () => this.#answers.running);
    this.#answers = new Answers(connection, store, {
      changed: (message) => this.#onAnswer(message),
      started: ({ conversation }) => this.#tabs.post({ changed: conversation }),
      history: async (message) => pathTo(await this.load(message.conversation), message.parent),
    });
    this.#questions = new Questions({
      conversation: (id) => this.#conversations.get(id),
      create: (id) => this.#create(id, defaults()),
      load: (id) => this.load(id),
      defaults,
      start: (message) => this.#answers.start(message),
      added: (conversation, messages) => {
        this.#tell("thread", conversation.id);
        this.#tell("list");
        return this.#save([conversation], messages);
      },
    });
    this.#following = new Following(connection, (message) => this.#onFollowed(message));
  }

  /** Load what is stored, and resume unfinished answers. */
  async open() {
    for (const conversation of await this.#store.conversations()) this.#conversations.set(conversation.id, conversation);
    this.#tell("list");
    await this.#answers.restore();
  }

  get isKept() { return this.#store.isKept; }

  /** The most recently used first. */
  get conversations() { return [...this.#conversations.values()].sort((a, b) => b.updated - a.updated); }

  /** @param {string} id */
  conversation(id) { return this.#conversations.get(id); }

  /** @param {string} id Of a message. */
  isRunning(id) { return this.#answers.isRunning(id) || this.#following.has(id); }

  /** The running answer in the shown branch of a conversation. @param {string} conversation */
  runningIn(conversation) {
    const shown = new Set(this.path(conversation).map(({ id }) => id));
    return this.running.find(({ id }) => shown.has(id));
  }

  /** @param {string} conversation */
  isBusy(conversation) { return this.running.some((message) => message.conversation === conversation); }

  /** The answers that this tab receives or follows. */
  get running() { return [...this.#answers.running, ...this.#following.messages]; }

  /** The messages of a conversation. @param {string} conversation */
  async load(conversation) {
    const messages = await this.#loaded.load(conversation);
    for (const message of messages.values()) {
      if (message.answer?.state === "open") void this.#follow(message);
      else this.#following.stop(message.id);
    }
    return messages;
  }

  /** Undefined before `load`. @param {string} conversation @param {string} id */
  message(conversation, id) { return this.#loaded.get(conversation)?.get(id); }

  /** The shown branch; empty before `load`. @param {string} conversation */
  path(conversation) {
    const messages = this.#loaded.get(conversation);
    return messages === undefined ? [] : pathTo(messages, this.#conversations.get(conversation)?.leaf ?? null);
  }

  /** @param {Message} message */
  siblings(message) { return siblings(this.#loaded.get(message.conversation) ?? new Map(), message); }

  // -- asking --------------------------------------------------------------------------------------------------------

  /**
   * Ask a question at the end of a conversation, or in a new one; returns the conversation's id.
   * @param {string | null} id
   * @param {string} text
   * @param {import("../types.js").Picture[]} [pictures]
   */
  ask(id, text, pictures) { return this.#questions.ask(id, text, pictures); }

  /** Ask another question in place of `message`; both stay. @param {Message} message @param {string} text */
  edit(message, text) { return this.#questions.edit(message, text); }

  /** Ask for another answer in place of `message`; both stay. @param {Message} message */
  regenerate(message) { return this.#questions.regenerate(message); }

  /** Answer the calls of `message`, and ask for what follows. @param {Message} message @param {string[]} results */
  answerCalls(message, results) { return this.#questions.answerCalls(message, results); }

  /** Continue an answer from the end of its text. @param {Message} message */
  continueAnswer(message) { this.#questions.continueAnswer(message); }

  /** @param {string} id Of a message. */
  stop(id) {
    if (this.#answers.isRunning(id)) this.#answers.stop(id);
    else this.#tabs.post({ stop: id });
  }

  /** Show the branch with `message`. @param {Message} message */
  async choose(message) {
    const conversation = this.#conversations.get(message.conversation);
    const messages = this.#loaded.get(message.conversation);
    if (conversation === undefined || messages === undefined) return;
    conversation.leaf = newestLeaf(messages, message.id);
    this.#tell("thread", conversation.id);
    await this.#save([conversation], []);
  }

  // -- editing the list ----------------------------------------------------------------------------------------------

  /**
   * @param {string} id
   * @param {string} title
   */
  async rename(id, title) {
    if (title.trim() !== "") await this.change(id, { title: title.trim().slice(0, MAX_TITLE), isNamed: true });
  }

  /** Change some fields of a conversation. @param {string} id @param {Partial<Conversation>} fields */
  async change(id, fields) {
    const conversation = this.#conversations.get(id);
    if (conversation === undefined) return;
    Object.assign(conversation, fields);
    this.#tell("list");
    await this.#save([conversation], []);
  }

  /** Delete a conversation; returns a function that restores it. @param {string} id */
  async remove(id) {
    const conversation = this.#conversations.get(id);
    if (conversation === undefined) return async () => {};
    const messages = [...(await this.load(id)).values()];
    for (const message of messages) {
      this.#answers.discard(message.id);
      if (message.answer?.state === "open") message.answer.state = "stopped";
    }
    this.#conversations.delete(id);
    this.#loaded.forget(id);
    this.#tell("list");
    await this.#store.remove(id);
    this.#tabs.post({ removed: id });
    return () => this.add([conversation], messages);
  }

  /**
   * Add imported or restored conversations.
   * @param {Conversation[]} conversations
   * @param {Message[]} messages
   */
  async add(conversations, messages) {
    for (const conversation of conversations) {
      this.#conversations.set(conversation.id, conversation);
      this.#loaded.forget(conversation.id);
    }
    await this.#save(conversations, messages);
    this.#tell("list");
  }

  /** Everything, for an export. */
  async everything() {
    return { conversations: this.conversations, messages: await this.#store.allMessages() };
  }

  /** The conversations with `words` in their title or messages. @param {string} words */
  async search(words) {
    return matching(words, this.conversations, await this.#store.allMessages());
  }

  // -- within --------------------------------------------------------------------------------------------------------

  /** @param {string | null} id @param {Asked} asked */
  #create(id, { model, sampling }) {
    const conversation = newConversation(id ?? newId(), sampling);
    if (model !== "") conversation.model = model;
    this.#conversations.set(conversation.id, conversation);
    this.#loaded.create(conversation.id);
    return conversation;
  }

  /**
   * @param {Conversation[]} conversations
   * @param {Message[]} messages
   */
  async #save(conversations, messages) {
    await this.#store.save(conversations, messages);
    for (const { id } of conversations) this.#tabs.post({ changed: id });
  }

  /** @param {Message} message */
  #onAnswer(message) {
    this.#following.stop(message.id);
    if (!this.#answers.isRunning(message.id) || message.answer?.pieces === 0) this.#loaded.set(message);
    else this.#loaded.get(message.conversation)?.set(message.id, message);
    this.#tell("answer", message.conversation, message.id);
    const isOver = !this.isRunning(message.id);
    if (isOver && this.shown !== message.conversation) void this.change(message.conversation, { isUnread: true });
    if (message.answer?.pieces === 0 || isOver) {
      this.#tell("list");
      this.#tabs.post({ changed: message.conversation });
    }
  }

  /** @param {Message} message An open answer. */
  async #follow(message) {
    // Should the other tab be closed, this one receives the rest.
    if (!this.#answers.isRunning(message.id) && (await this.#following.start(message))) this.#answers.adopt(message.id);
  }

  /** @param {Message} message */
  #onFollowed(message) {
    this.#tell("answer", message.conversation, message.id);
    if (!this.isRunning(message.id)) this.#tell("list");
  }

  /** @param {import("./running/tabs.js").TabMessage} message */
  async #onTab({ changed, removed, stop }) {
    if (stop !== undefined) this.#answers.stop(stop);
    if (removed !== undefined) {
      this.#conversations.delete(removed);
      this.#loaded.forget(removed);
      this.#tell("list");
    }
    if (changed !== undefined) {
      // The answers that this tab receives are ahead of what is stored, and stay.
      for (const one of await this.#store.conversations()) {
        const known = this.#conversations.get(one.id);
        // A question that was asked here while they were read is not yet among them.
        if (known === undefined || known.updated <= one.updated) this.#conversations.set(one.id, Object.assign(known ?? one, one));
      }
      this.#loaded.forget(changed);
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
