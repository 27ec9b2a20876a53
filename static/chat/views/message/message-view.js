// One message: its text, its buttons, and an answer's thoughts, calls and statistics.

import { element, writeClipboard } from "../../../dom.js";
import { notice, speedFacts } from "./answer-stats.js";
import { CallsView } from "./calls-view.js";
import { picturesView } from "./pictures-view.js";
import { ThoughtsView } from "./thoughts-view.js";
import { t } from "../../i18n.js";
import { icon } from "../../icons.js";
import { readDraft, writeDraft } from "../../state/preferences.js";
import { RichText } from "../../text/rich-text.js";
import { fitHeight, isSend } from "../../typing.js";

/** @typedef {import("../../types.js").Message} Message */
/** @typedef {import("../../i18n.js").Word} Word */

/**
 * @typedef {object} Actions
 * @property {(message: Message, text: string) => void} edit
 * @property {(message: Message) => void} regenerate
 * @property {(message: Message) => void} continueAnswer
 * @property {(message: Message) => void} choose
 * @property {(message: Message) => Message[]} siblings
 * @property {(message: Message) => boolean} isRunning
 * @property {(message: Message) => boolean} isLast
 * @property {(message: Message, results: string[]) => void} answerCalls
 * @property {boolean} [isForeign] Somebody else asked for it: there is nothing to do but to copy it.
 * @property {(isEmpty: boolean, message: Message) => string} waitingFor Describes what a running answer is waiting for.
 */

const COPIED_MS = 2000;

export class MessageView {
  #message;
  #actions;
  #body;
  /** @type {RichText | null} */
  #rich = null;
  /** @type {ThoughtsView | null} */
  #thoughts = null;
  /** @type {CallsView | null} */
  #calls = null;
  #notice = element("p", { class: "notice", dir: "auto" });
  #tools = element("div", { class: "tools" });
  #shown = "";
  #toolsFor = "";
  #isNear = false;
  /** Whether the answer follows its format. @type {HTMLElement | null} */
  #verdict = null;

  /**
   * @param {Message} message
   * @param {Actions} actions
   */
  constructor(message, actions) {
    this.#message = message;
    this.#actions = actions;
    const { role, id, call, pictures } = message;
    this.#body = element("div", { class: { user: "bubble", tool: "result", assistant: "body" }[role] });
    // Questions are shown as typed, and so are results.
    if (role === "assistant") this.#rich = new RichText(this.#body);
    else this.#body.setAttribute("dir", "auto");
    // So that the keyboard can scroll a long one.
    if (role === "tool") this.#body.tabIndex = 0;
    const heading = call ? t("resultOf", { name: call.name }) : t(role === "user" ? "question" : "answer");
    this.root = element("article", { class: `message ${role}`, dataset: { id } },
      element("h2", { class: call ? "result-of" : "off-screen" }, heading),
      pictures && picturesView(pictures), this.#body, this.#notice, this.#tools);
    this.draw(message);
  }

  /** It is near the view: render its Markdown from now on. */
  approach() {
    if (this.#isNear) return;
    this.#isNear = true;
    this.#shown = "";
    this.draw(this.#message);
  }

  /**
   * Show the message's current state.
   * @param {Message} message
   */
  draw(message) {
    this.#message = message;
    const { answer, text } = message;
    const isRunning = this.#actions.isRunning(message);
    const isOpen = answer?.state === "open";
    const key = `${isOpen}|${text.length}|${text.slice(-20)}`;
    if (key !== this.#shown) {
      this.#shown = key;
      const isJson = answer?.sampling.response_format !== undefined;
      if (this.#rich === null || !this.#isNear) this.#body.textContent = text;
      // No Markdown, so that nothing of it is lost.
      else this.#rich.show(isJson && text !== "" ? `\`\`\`\`json\n${text}${isOpen ? "" : "\n````"}` : text, !isOpen);
      if (isJson) void this.#judge(answer, isOpen ? "" : text).catch((error) => console.warn("Not checked:", error));
    }
    const isEmpty = isOpen && text === "" && !answer.thoughts && !answer.calls;
    if (answer !== undefined) this.#drawParts(answer, isOpen);
    this.root.classList.toggle("open", isOpen);
    this.root.classList.toggle("empty", isEmpty);
    if (this.root.ariaBusy !== String(isOpen)) this.root.ariaBusy = String(isOpen);
    const { text: said, tone } = answer === undefined ? { text: "", tone: "quiet" } : notice(answer, isRunning);
    const waiting = isOpen && isRunning ? this.#actions.waitingFor(isEmpty, message) : "";
    if (this.#notice.textContent !== (said || waiting)) this.#notice.textContent = said || waiting;
    if (this.#notice.dataset.tone !== tone) this.#notice.dataset.tone = tone;
    this.#drawTools(isOpen);
  }

  /**
   * The thoughts and the calls.
   * @param {import("../../types.js").Answer} answer
   * @param {boolean} isOpen
   */
  #drawParts(answer, isOpen) {
    const { thoughts, calls } = answer;
    if (thoughts === undefined) {
      this.#thoughts?.root.remove();
      this.#thoughts = null;
    } else {
      if (this.#thoughts === null) {
        this.#thoughts = new ThoughtsView();
        this.#body.before(this.#thoughts.root);
      }
      this.#thoughts.draw(answer, isOpen && this.#message.text === "" && calls === undefined);
    }
    if (calls === undefined) {
      this.#calls?.root.remove();
      this.#calls = null;
      return;
    }
    if (this.#calls === null) {
      this.#calls = new CallsView((results) => this.#actions.answerCalls(this.#message, results));
      this.#body.after(this.#calls.root);
    }
    const wantsResults = answer.state === "done" && answer.finish !== "length" && this.#actions.isLast(this.#message);
    this.#calls.draw(calls, { isComplete: !isOpen, wantsResults });
  }

  /**
   * Say whether the answer follows its format.
   * @param {import("../../types.js").Answer} answer
   * @param {string} text Empty while it is not complete.
   */
  async #judge({ calls, sampling }, text) {
    this.#verdict?.remove();
    if (text === "" || calls !== undefined) return;
    const shown = this.#shown;
    const { verdictOn } = await import("./verdict.js");
    const verdict = await verdictOn(text, sampling.response_format);
    if (shown !== this.#shown || verdict === null) return;
    this.#verdict?.remove();
    this.#verdict = verdict;
    this.#notice.before(verdict);
  }

  focusEdit() { this.#tools.querySelector("button")?.focus(); }

  // -- tools ---------------------------------------------------------------------------------------------------------

  /** @param {boolean} isOpen */
  #drawTools(isOpen) {
    const message = this.#message;
    const { answer } = message;
    const among = this.#actions.siblings(message);
    const facts = answer === undefined ? [] : speedFacts(answer);
    const cursor = answer?.cursor;
    const key = JSON.stringify([isOpen, cursor?.follow, answer?.state, answer?.finish, among.map(({ id }) => id), facts]);
    if (key === this.#toolsFor) return;
    this.#toolsFor = key;
    this.#tools.replaceChildren();
    if (among.length > 1) this.#tools.append(this.#pager(among));
    if (cursor?.follow) {
      const link = new URL(`#/follow/${cursor.id}/${cursor.follow}`, location.href).href;
      this.#tools.append(tool("link", "copyLink", async () => (await import("../../guest/share.js")).showLink(link)));
    }
    if (isOpen) return;
    this.#tools.append(this.#copyButton());
    if (this.#actions.isForeign) return;
    if (answer === undefined) {
      if (message.role === "user") this.#tools.append(tool("edit", "edit", () => this.edit()));
      return;
    }
    this.#tools.append(tool("again", "regenerate", () => this.#actions.regenerate(message)));
    const isCut = (answer.finish === "length" || answer.state !== "done") && answer.calls === undefined;
    if (isCut && message.text.trim() !== "") {
      this.#tools.append(tool("on", "continueAnswer", () => this.#actions.continueAnswer(message), true));
    }
    this.#tools.append(element("span", { class: "facts", title: answer.model }, facts.join(" · ")));
  }

  /** @param {Message[]} among */
  #pager(among) {
    const at = among.findIndex(({ id }) => id === this.#message.id);
    /** @type {(name: string, word: Word, to: number) => HTMLElement} */
    const step = (name, word, to) => {
      const button = tool(name, word, () => this.#actions.choose(among[to]));
      button.disabled = to < 0 || to >= among.length;
      return button;
    };
    return element("span", { class: "pager", role: "group", "aria-label": t("branches") },
      step("previous", "previousBranch", at - 1),
      element("span", {}, t("branchOf", { number: at + 1, count: among.length })),
      step("next", "nextBranch", at + 1));
  }

  #copyButton() {
    const button = tool("copy", "copy", async () => {
      if (!(await writeClipboard(this.#message.text))) return;
      button.replaceChildren(icon("check"));
      button.setAttribute("aria-label", t("copied"));
      setTimeout(() => {
        button.replaceChildren(icon("copy"));
        button.setAttribute("aria-label", t("copy"));
      }, COPIED_MS);
    });
    return button;
  }

  // -- editing -------------------------------------------------------------------------------------------------------

  edit() {
    if (this.root.classList.contains("editing")) return;
    const { id, text } = this.#message;
    const area = element("textarea", { dir: "auto", "aria-label": t("editQuestion") });
    area.value = readDraft(id) || text;
    const leave = () => {
      form.remove();
      this.root.classList.remove("editing");
    };
    const send = () => {
      if (area.value.trim() === "" && this.#message.pictures === undefined) return;
      writeDraft(id, "");
      leave();
      this.#actions.edit(this.#message, area.value);
    };
    const cancel = () => {
      writeDraft(id, "");
      leave();
      this.focusEdit();
    };
    const form = element("form", { class: "edit", onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      send();
    } }, area, element("div", { class: "buttons" },
      element("button", { type: "button", class: "plain-button", onclick: cancel }, t("cancel")),
      element("button", { type: "submit", class: "main-button" }, t("sendEdited"))));
    area.addEventListener("input", () => {
      fitHeight(area);
      writeDraft(id, area.value);
    });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        cancel();
      } else if (isSend(event)) {
        event.preventDefault();
        send();
      }
    });
    this.root.classList.add("editing");
    this.#body.after(form);
    area.focus();
    fitHeight(area);
  }
}

/**
 * @param {string} name Of the icon.
 * @param {Word} word
 * @param {() => void} act
 * @param {boolean} [isWorded] Whether to show the label beside the icon.
 */
function tool(name, word, act, isWorded = false) {
  const label = t(word);
  return element("button", { type: "button", class: isWorded ? "tool worded" : "tool", title: isWorded ? null : label,
    "aria-label": label, onclick: act }, icon(name), isWorded ? label : null);
}
