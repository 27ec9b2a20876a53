// Shows a linked answer at #/follow/ID/TOKEN. Its code is loaded with the first such link.

import { byId } from "../../dom.js";
import { t } from "../i18n.js";
import { toast } from "../toast.js";

/** The fragment of a link, which browsers do not send. */
const LINK = /^#\/follow\/([\w-]+)\/([\w-]+)$/;

export class Guest {
  #connection;
  /** @type {import("./view.js").GuestView | undefined} */
  #view;

  /** Whether the page's address names an answer. */
  isShown = false;

  /** @param {import("../state/connection.js").Connection} connection */
  constructor(connection) {
    this.#connection = connection;
  }

  /** Show the answer that the page's address names, if it names one. */
  follow() {
    const link = LINK.exec(location.hash);
    this.#view?.leave();
    this.#view = undefined;
    this.isShown = link !== null;
    document.body.classList.toggle("guest", this.isShown);
    if (link !== null) void this.#show(link).catch(() => toast(byId("toasts"), t("notLoaded")));
  }

  /** @param {RegExpExecArray} link */
  async #show([hash, id, token]) {
    const [{ GuestView }, { loadWords }] = await Promise.all([import("./view.js"), import("./words.js")]);
    await loadWords();
    if (location.hash !== hash) return;
    this.#view?.leave();
    this.#view = new GuestView(this.#connection, id, token);
  }
}
