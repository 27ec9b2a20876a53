// Decides when to watch the server's load: while an answer waits for long, or the reader wants to see it. The view is
// loaded only then.

/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../views/load-view.js").LoadView} LoadView */

/** A shorter wait is not worth an explanation. */
const PATIENCE_MS = 1500;

export class Load {
  #connection;
  #changed;
  /** @type {LoadView | undefined} */
  #view;
  /** @type {Promise<LoadView> | undefined} */
  #loading;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {import("./connection.js").Connection} connection
   * @param {() => void} changed There is news of the places in the queue.
   */
  constructor(connection, changed) {
    this.#connection = connection;
    this.#changed = changed;
  }

  /** @param {boolean} isWanted Whether to show the line with the load. */
  show(isWanted) {
    if (isWanted || this.#loading !== undefined) void this.#load().then((view) => view.show(isWanted), () => {});
  }

  /** @param {Message | undefined} message The running answer that the reader sees. */
  follow(message) {
    const isWaiting = message?.text === "" && !message.answer?.thoughts && !message.answer?.calls;
    if (isWaiting) {
      this.#timer ??= setTimeout(() => void this.#load().then((view) => {
        if (this.#timer !== undefined) view.watchPlaces(true);
      }, () => {}), PATIENCE_MS);
    } else if (this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#view?.watchPlaces(false);
    }
  }

  /**
   * The place of a waiting answer in the queue, in words; empty if it is not known.
   * @param {string | undefined} id Of its generation.
   */
  place(id) {
    return this.#view?.place(id ?? "") ?? "";
  }

  #load() {
    this.#loading ??= import("../views/load-view.js").then(({ LoadView }) => {
      this.#view = new LoadView(this.#connection, this.#changed);
      return this.#view;
    });
    return this.#loading;
  }
}
