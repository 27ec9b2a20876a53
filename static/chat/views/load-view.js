// The line with the server's load, and the places of waiting answers in its queue, as the server reports them.

import { byId, element } from "../../dom.js";
import { language, t } from "../i18n.js";

/** @typedef {import("../../channel/load.js").ServerLoad} ServerLoad */

export class LoadView {
  #connection;
  #changed;
  #root = element("div", { id: "load", role: "group", hidden: true });
  /** How many are before each waiting answer, by its generation's id. @type {Map<string, number>} */
  #places = new Map();
  #isShown = false;
  #hasWaiting = false;
  /** @type {import("../../channel.js").Channel | undefined} */
  #channel;
  #stop = () => {};

  /**
   * @param {import("../state/connection.js").Connection} connection
   * @param {() => void} changed
   */
  constructor(connection, changed) {
    this.#connection = connection;
    this.#changed = changed;
    byId("progress").after(this.#root);
    connection.addEventListener("change", () => this.#update());
  }

  /** @param {boolean} isShown */
  show(isShown) {
    this.#isShown = isShown;
    this.#root.hidden = !isShown;
    this.#root.setAttribute("aria-label", t("load"));
    this.#update();
  }

  /** @param {boolean} hasWaiting Whether an answer waits. */
  watchPlaces(hasWaiting) {
    this.#hasWaiting = hasWaiting;
    this.#update();
  }

  /** @param {string} id */
  place(id) {
    const ahead = this.#places.get(id);
    if (ahead === undefined) return "";
    return ahead === 0 ? t("nextInQueue") : t("aheadInQueue", { count: ahead.toLocaleString(language()) });
  }

  /** Watch the present channel, as long as somebody looks. */
  #update() {
    const isWanted = (this.#isShown || this.#hasWaiting) && this.#connection.isReady;
    const channel = isWanted ? this.#connection.channel : undefined;
    if (channel === this.#channel) return;
    this.#channel = channel;
    this.#stop();
    this.#places.clear();
    this.#stop = channel?.watchLoad((load) => this.#report(load)) ?? (() => {});
  }

  /** @param {ServerLoad | null} load */
  #report(load) {
    this.#places.clear();
    for (const { id, ahead } of load?.streams ?? []) if (id !== undefined) this.#places.set(id, ahead);
    if (this.#isShown) this.#root.textContent = lineOf(load);
    this.#changed();
  }
}

/** @param {ServerLoad | null} load */
function lineOf(load) {
  const { running, waiting = 0, tokens_per_s: rate, kv_cache_usage: usage } = load ?? {};
  if (running === undefined) return t("noLoad");
  const facts = [t("loadRunning", { count: inWords(running) }), t("loadWaiting", { count: inWords(waiting) })];
  if (rate !== undefined) facts.push(t("speed", { rate: inWords(Math.round(rate)) }));
  if (usage !== undefined) facts.push(t("loadCache", { share: usage.toLocaleString(language(), { style: "percent", maximumSignificantDigits: 2 }) }));
  return facts.join(" · ");
}

/** @param {number} count */
function inWords(count) {
  return count.toLocaleString(language());
}
