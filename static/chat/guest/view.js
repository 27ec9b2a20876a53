// Shows an answer that somebody else asked for, as it grows: what a link with its follow token opens. It can only be read.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";
import { Growth } from "../state/running/request.js";
import { MessageView } from "../views/message/message-view.js";
import { g } from "./words.js";

/** @typedef {import("../types.js").Message} Message */

export class GuestView {
  #stop = new AbortController();
  #root = element("div", { id: "guest" }, element("p", { class: "quiet" }, g("guest")));
  #isFrameAsked = false;

  /**
   * Begin to read.
   * @param {import("../state/connection.js").Connection} connection
   * @param {string} id The generation's.
   * @param {string} followToken
   */
  constructor(connection, id, followToken) {
    const answer = { state: /** @type {import("../types.js").AnswerState} */ ("open"), model: "", sampling: {}, finish: null,
      error: null, cursor: null, pieces: 0, limitBase: 0, counted: 0, usage: null, sent: 0, first: 0, last: 0,
      wasInterrupted: true, restarts: 0 };
    /** @type {Message} */
    const message = { id: "guest", conversation: "", parent: null, role: "assistant", text: "", created: 0, answer };
    const view = new MessageView(message, {
      edit: () => {}, regenerate: () => {}, continueAnswer: () => {}, choose: () => {}, answerCalls: () => {},
      siblings: () => [], isRunning: () => true, isLast: () => false, isForeign: true,
      waitingFor: (isEmpty) => (isEmpty ? t("waiting") : ""),
    });
    view.approach();
    this.#root.append(view.root);
    byId("thread").after(this.#root);
    void this.#read(connection, message, id, followToken, view);
  }

  leave() {
    this.#stop.abort();
    this.#root.remove();
  }

  /**
   * @param {import("../state/connection.js").Connection} connection
   * @param {Message} message
   * @param {string} id
   * @param {string} followToken
   * @param {MessageView} view
   */
  async #read(connection, message, id, followToken, view) {
    const { signal } = this.#stop;
    const answer = /** @type {import("../types.js").Answer} */ (message.answer);
    const growth = new Growth(message, answer);
    try {
      await connection.ready(signal);
      const generation = connection.channel.follow({ id, followToken, signal });
      for await (const chunk of generation) {
        const choice = chunk.choices[0];
        answer.finish = choice?.finish_reason ?? answer.finish;
        if (choice !== undefined && growth.add(choice.delta, Date.now())) this.#draw(view, message);
      }
      answer.state = generation.status === "cancelled" ? "stopped" : "done";
    } catch (error) {
      if (signal.aborted) return;
      answer.state = "failed";
      const code = /** @type {{ code?: string }} */ (error).code ?? "";
      const words = error instanceof Error ? error.message : String(error);
      answer.error = { code, message: code === "completion_not_found" ? g("gone") : words };
    }
    view.draw(message);
  }

  /**
   * @param {MessageView} view
   * @param {Message} message
   */
  #draw(view, message) {
    if (this.#isFrameAsked) return;
    this.#isFrameAsked = true;
    requestAnimationFrame(() => {
      this.#isFrameAsked = false;
      view.draw(message);
    });
  }
}
