// The wire inspector: a drawer below the chat with the frames of the last answer as they come, the server-sent events of
// the same generation beside them, the request as a program, and a button that cuts the connection.

import { byId, element, writeClipboard } from "../../dom.js";
import { icon } from "../icons.js";
import { ROOT } from "../root.js";
import { readKey } from "../state/preferences.js";
import { Bytes } from "./bytes.js";
import { follow } from "./follower.js";
import { Recorder } from "./recorder.js";
import { SNIPPETS } from "./snippets.js";
import { Table } from "./table.js";
import { loadWords, numeral, size, w } from "./words.js";

/** @typedef {import("../state/connection.js").Connection} Connection */
/** @typedef {import("./recording.js").Recording} Recording */
/** @typedef {(id: string) => string | undefined} FindToken The follow token of the completion `id`, if the page has it. */

/** @type {Drawer | null} */
let drawer = null;

/**
 * Open the inspector, or close it.
 * @param {HTMLElement} opener Its button, which gets the focus back.
 * @param {Connection} connection
 * @param {FindToken} findToken
 */
export async function toggleInspector(opener, connection, findToken) {
  if (drawer !== null) {
    drawer.close();
    return;
  }
  await Promise.all([loadWords(), styled()]);
  // Another click may have opened it meanwhile.
  if (drawer !== null) return;
  const opened = new Drawer(opener, connection, findToken);
  drawer = opened;
  // In another language, it begins anew.
  const observer = new MutationObserver(() => {
    observer.disconnect();
    if (drawer !== opened) return;
    opened.close();
    void toggleInspector(opener, connection, findToken);
  });
  observer.observe(document.documentElement, { attributeFilter: ["lang"] });
}

/** Resolves once the style sheet applies, or is missing. */
function styled() {
  const href = new URL("inspector.css", import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`) !== null) return Promise.resolve();
  const link = element("link", { rel: "stylesheet", href });
  return new Promise((resolve) => {
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}

class Drawer {
  #opener;
  #connection;
  #findToken;
  #recorder = new Recorder({
    begun: () => this.#begin(),
    known: (recording, token) => void this.#follow(recording, token),
    changed: () => this.#changed(),
  });
  #table = new Table((row) => { this.#chosen = row; this.#changed(); });
  #bytes = new Bytes();
  /** @type {import("./recording.js").Row | null} */
  #chosen = null;
  #summary = element("p", { class: "wire-summary" });
  #said = element("p", { class: "off-screen", role: "status" });
  #problem = element("p", { class: "wire-problem bad", role: "status" });
  #cut = element("button", { type: "button", class: "plain-button wire-cut", onclick: () => this.#connection.channel.cut() });
  #copies = Object.keys(SNIPPETS).map((name) => element("button", { type: "button", class: "plain-button",
    onclick: () => this.#copy(/** @type {import("./snippets.js").Language} */ (name)) }, name));
  #root = this.#build();
  #listening = new AbortController();
  #following = new AbortController();
  #isFrameAsked = false;
  #wasConnected = true;

  /**
   * @param {HTMLElement} opener
   * @param {Connection} connection
   * @param {FindToken} findToken
   */
  constructor(opener, connection, findToken) {
    this.#opener = opener;
    this.#connection = connection;
    this.#findToken = findToken;
    byId("stage").append(this.#root);
    opener.setAttribute("aria-expanded", "true");
    connection.watch((direction, text) => this.#recorder.add(direction, text));
    connection.addEventListener("change", () => this.#look(), { signal: this.#listening.signal });
    this.#look();
    this.#root.focus();
  }

  close() {
    drawer = null;
    this.#connection.watch(undefined);
    this.#listening.abort();
    this.#following.abort();
    this.#root.remove();
    this.#opener.setAttribute("aria-expanded", "false");
    this.#opener.focus();
  }

  #build() {
    this.#cut.append(w("cut"));
    const close = element("button", { type: "button", class: "tool", "aria-label": w("close"), title: w("close"),
      onclick: () => this.close() }, icon("close"));
    const root = element("section", { id: "inspector", "aria-label": w("title"), tabindex: "-1" },
      element("div", { class: "wire-head" },
        element("h2", {}, w("title")), this.#summary,
        element("div", { class: "wire-actions" }, this.#cut,
          element("span", { class: "wire-copies", role: "group", "aria-label": w("copyAs") },
            element("span", { "aria-hidden": "true" }, w("copyAs")), this.#copies)),
        close),
      this.#problem,
      element("div", { class: "wire-body" }, this.#table.root, this.#bytes.root),
      this.#said);
    root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      // On the rest of the page, it stops the answer.
      event.stopPropagation();
      this.close();
    });
    return root;
  }

  // -- recording -----------------------------------------------------------------------------------------------------

  #begin() {
    this.#following.abort();
    this.#following = new AbortController();
    this.#problem.textContent = "";
    this.#chosen = null;
    this.#table.clear();
  }

  /**
   * @param {Recording} recording
   * @param {string} givenToken
   */
  async #follow(recording, givenToken) {
    const token = givenToken || this.#findToken(recording.id) || "";
    const { signal } = this.#following;
    let reason = w("noToken");
    if (token !== "") {
      const { id, startingAfter } = recording;
      const onEvent = (/** @type {string} */ number, /** @type {string} */ data) => {
        recording.addEvent(number, data);
        this.#changed();
      };
      reason = await follow({ id, token, startingAfter, key: readKey(), signal, onEvent });
    }
    if (reason !== "" && !signal.aborted) this.#problem.textContent = w("noFollower", { reason });
  }

  /** The state of the connection has changed. */
  #look() {
    const { kind, wire } = this.#connection.status;
    const isConnected = kind === "ready" || kind === "resumed";
    const { recording } = this.#recorder;
    if (kind === "reconnecting" && this.#wasConnected && recording !== null && !recording.isOver) {
      this.#recorder.addLoss();
      this.#said.textContent = w("lost", { seq: recording.lastSeq });
    } else if (isConnected && !this.#wasConnected && recording !== null && !recording.isOver) {
      this.#said.textContent = w("resuming", { seq: recording.lastSeq });
    }
    this.#wasConnected = isConnected;
    this.#cut.disabled = !isConnected || wire !== "websocket";
    this.#changed();
  }

  // -- drawing -------------------------------------------------------------------------------------------------------

  #changed() {
    if (this.#isFrameAsked) return;
    this.#isFrameAsked = true;
    requestAnimationFrame(() => {
      this.#isFrameAsked = false;
      this.#draw();
    });
  }

  #draw() {
    const { recording } = this.#recorder;
    for (const button of this.#copies) button.disabled = !recording?.body;
    this.#root.classList.toggle("idle", recording === null);
    if (recording === null) {
      this.#summary.textContent = w(this.#connection.status.wire === "http" ? "overHttp" : "empty");
      return;
    }
    this.#table.draw(recording.takeChanges());
    this.#bytes.show(this.#chosen ?? recording.rows.at(-1));
    const { frames, events, same, different } = recording;
    const counted = w("summary", { frames: numeral(frames.pieces), frameBytes: size(frames.bytes),
      events: numeral(events.pieces), eventBytes: size(events.bytes), same: numeral(same) });
    this.#summary.textContent = different === 0 ? counted : `${counted} · ${w("differ", { count: different })}`;
  }

  /** @param {import("./snippets.js").Language} language */
  async #copy(language) {
    const body = this.#recorder.recording?.body;
    if (!body) return;
    const text = SNIPPETS[language]({ body, root: ROOT, hasKey: this.#connection.asksForKey });
    const isCopied = await writeClipboard(text);
    this.#said.textContent = isCopied ? w("copied", { language }) : w("notCopied");
  }
}
