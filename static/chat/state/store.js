// Stores conversations in IndexedDB, or in memory where the browser refuses that.

/** @typedef {import("../types.js").Conversation} Conversation */
/** @typedef {import("../types.js").Message} Message */

/**
 * @typedef {object} Store
 * @property {boolean} isKept Whether it survives a reload.
 * @property {() => Promise<Conversation[]>} conversations
 * @property {(conversation: string) => Promise<Message[]>} messages
 * @property {() => Promise<Message[]>} allMessages
 * @property {() => Promise<Message[]>} openAnswers The unfinished ones.
 * @property {(id: string) => Promise<Message | undefined>} message
 * @property {(conversations: Conversation[], messages: Message[]) => Promise<void>} save Everything or nothing.
 * @property {(conversation: string) => Promise<void>} remove With its messages.
 */

const NAME = "twowire-chat";
const VERSION = 1;

/** @returns {Promise<Store>} */
export async function openStore() {
  try {
    return new KeptStore(await openDatabase());
  } catch (error) {
    console.warn("Conversations cannot be stored:", error);
    return new MemoryStore();
  }
}

/** @returns {Promise<IDBDatabase>} */
function openDatabase() {
  return new Promise((resolve, reject) => {
    const asking = indexedDB.open(NAME, VERSION);
    asking.onupgradeneeded = () => {
      asking.result.createObjectStore("conversations", { keyPath: "id" });
      const messages = asking.result.createObjectStore("messages", { keyPath: "id" });
      messages.createIndex("conversation", "conversation");
      messages.createIndex("state", "answer.state");
    };
    asking.onsuccess = () => {
      // A newer version of the page in another tab needs to change the tables: let it.
      asking.result.onversionchange = () => asking.result.close();
      resolve(asking.result);
    };
    asking.onerror = () => reject(asking.error);
    asking.onblocked = () => reject(new Error("another tab holds an older version open"));
  });
}

/**
 * @template T
 * @param {IDBRequest<T>} asking
 * @returns {Promise<T>}
 */
function result(asking) {
  return new Promise((resolve, reject) => {
    asking.onsuccess = () => resolve(asking.result);
    asking.onerror = () => reject(asking.error);
  });
}

/**
 * @param {IDBTransaction} transaction
 * @returns {Promise<void>}
 */
function committed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/** @implements {Store} */
class KeptStore {
  isKept = true;
  #database;

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
  }

  conversations() { return result(this.#read("conversations").getAll()); }

  /** @param {string} conversation */
  messages(conversation) { return result(this.#read("messages").index("conversation").getAll(conversation)); }

  allMessages() { return result(this.#read("messages").getAll()); }

  openAnswers() { return result(this.#read("messages").index("state").getAll("open")); }

  /** @param {string} id */
  message(id) { return result(this.#read("messages").get(id)); }

  /**
   * @param {Conversation[]} conversations
   * @param {Message[]} messages
   */
  save(conversations, messages) {
    const transaction = this.#database.transaction(["conversations", "messages"], "readwrite");
    for (const conversation of conversations) transaction.objectStore("conversations").put(conversation);
    for (const message of messages) transaction.objectStore("messages").put(message);
    return committed(transaction);
  }

  /** @param {string} conversation */
  remove(conversation) {
    const transaction = this.#database.transaction(["conversations", "messages"], "readwrite");
    transaction.objectStore("conversations").delete(conversation);
    const messages = transaction.objectStore("messages");
    const keys = messages.index("conversation").getAllKeys(conversation);
    keys.onsuccess = () => { for (const key of keys.result) messages.delete(key); };
    return committed(transaction);
  }

  /** @param {string} table */
  #read(table) { return this.#database.transaction(table).objectStore(table); }
}

/** @implements {Store} */
class MemoryStore {
  isKept = false;
  /** @type {Map<string, Conversation>} */
  #conversations = new Map();
  /** @type {Map<string, Message>} */
  #messages = new Map();

  async conversations() { return [...this.#conversations.values()]; }

  /** @param {string} id */
  async messages(id) { return [...this.#messages.values()].filter(({ conversation }) => conversation === id); }

  async allMessages() { return [...this.#messages.values()]; }

  async openAnswers() { return []; }

  /** @param {string} id */
  async message(id) { return this.#messages.get(id); }

  /**
   * @param {Conversation[]} conversations
   * @param {Message[]} messages
   */
  async save(conversations, messages) {
    for (const conversation of conversations) this.#conversations.set(conversation.id, conversation);
    for (const message of messages) this.#messages.set(message.id, message);
  }

  /** @param {string} id */
  async remove(id) {
    this.#conversations.delete(id);
    for (const [key, { conversation }] of this.#messages) if (conversation === id) this.#messages.delete(key);
  }
}
