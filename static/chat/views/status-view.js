// Shows the state of the connection, and the engine's progress while it starts.

import { byId, element } from "../../dom.js";
import { t } from "../i18n.js";

/** @typedef {import("../state/connection.js").Status} Status */
/** @typedef {import("../state/connection.js").Kind} Kind */
/** @typedef {import("../state/connection.js").Progress} Progress */
/** @typedef {import("../i18n.js").Word} Word */

/** @type {Record<Kind, [Word, "good" | "busy" | "bad"]>} */
const KINDS = {
  connecting: ["connecting", "busy"],
  loading: ["starting", "busy"],
  unavailable: ["unavailable", "bad"],
  ready: ["connected", "good"],
  resumed: ["resumed", "good"],
  reconnecting: ["reconnecting", "busy"],
  locked: ["locked", "bad"],
  closed: ["disconnected", "bad"],
};

/** A shorter absence is not worth a line. */
const AWAY_S = 3;

/** The stages of the engine's start that the server reports, in order. @type {[RegExp, Word][]} */
const STAGES = [
  [/starting the engine/, "stageStarting"],
  [/importing/, "stageImporting"],
  [/configuration/, "stageConfiguration"],
  [/downloading/, "stageDownloading"],
  [/loading the model/, "stageLoading"],
  [/capturing|warming up/, "stageWarming"],
];

/**
 * Describe the state.
 * @param {Status} status
 */
export function statusText({ kind, reason, seconds, progress }) {
  if (kind !== "loading") return t(KINDS[kind][0]);
  const found = STAGES.find(([pattern]) => pattern.test(reason));
  const stage = found ? t(found[1]) : reason || t("loading");
  const isInParts = progress && progress.total > 1;
  return isInParts ? t("loadingPart", { stage, part: partText(progress), seconds }) : t("loadingStage", { stage, seconds });
}

/** @param {Progress} progress */
function partText({ done, total, unit }) {
  if (unit !== "bytes") return t(unit === "files" ? "filesOf" : "stepsOf", { done, total });
  const isLarge = total >= 1e9;
  /** @param {number} bytes */
  const shown = (bytes) => (isLarge ? (bytes / 1e9).toFixed(1) : (bytes / 1e6).toFixed(0));
  return t("bytesOf", { done: shown(done), total: shown(total), unit: isLarge ? "GB" : "MB" });
}

/**
 * What a running answer is waiting for; empty if it is not.
 * @param {Status} status
 * @param {boolean} isEmpty Whether nothing of it has come.
 */
export function waitingText(status, isEmpty) {
  if (status.kind === "ready" || status.kind === "resumed") return isEmpty ? t("waiting") : "";
  if (status.kind === "loading") return ""; // The line about the start says it.
  return isAway(status) || !isEmpty ? t("waitingForServer") : statusText(status);
}

/** @param {Status} status */
function isAway({ kind, seconds }) {
  return (kind === "connecting" || kind === "reconnecting") && seconds >= AWAY_S;
}

export class StatusView {
  #shown = "";
  #isLocked = false;

  /**
   * @param {{ again: () => void, key: () => void }} callbacks `again` connects again, now; `key` asks for a key.
   */
  constructor({ again, key }) {
    byId("again").addEventListener("click", () => (this.#isLocked ? key() : again()));
  }

  /** @param {Status} status */
  show(status) {
    const isOverHttp = status.wire === "http" && status.kind === "ready";
    /** @type {[Word, string]} */
    const [word, tone] = isOverHttp ? ["overHttp", "good"] : KINDS[status.kind];
    const root = byId("status");
    root.dataset.tone = tone;
    root.dataset.kind = status.kind;
    // Screen readers announce every change of this line, so the seconds are not in it.
    if (this.#shown !== word) byId("status-text").textContent = t(word);
    this.#shown = word;
    // Shown once: the line about the start says more. Screen readers hear this one, which changes less often.
    byId("status-text").classList.toggle("off-screen", status.kind === "loading");
    root.dataset.wire = status.wire;
    root.title = isOverHttp ? t("overHttpWhy") : status.reason;
    this.#isLocked = status.kind === "locked";
    byId("again").hidden = status.kind !== "closed" && !this.#isLocked && !isAway(status);
    const label = t(this.#isLocked ? "enterKey" : isAway(status) ? "tryNow" : "connectAgain");
    if (byId("again").textContent !== label) byId("again").textContent = label;
    this.#showProgress(status);
  }

  /** @param {Status} status */
  #showProgress(status) {
    const root = byId("progress");
    const isShown = status.kind === "loading" || status.kind === "unavailable" || status.kind === "closed" || isAway(status);
    root.hidden = !isShown;
    if (!isShown) return;
    const stage = STAGES.findIndex(([pattern]) => pattern.test(status.reason));
    const text = status.kind === "loading" ? statusText(status)
      : isAway(status) ? t("away", { seconds: status.seconds }) : status.reason;
    const bar = root.querySelector("progress") ?? element("progress", { max: STAGES.length, "aria-label": t("loading") });
    bar.hidden = status.kind !== "loading";
    const { progress } = status;
    if (stage >= 0) bar.value = stage + (progress ? progress.done / progress.total : 0.5);
    else bar.removeAttribute("value");
    const line = root.querySelector("p") ?? element("p");
    line.textContent = text;
    if (line.parentNode === null) root.append(line, bar);
  }

  /** Forget what is shown, after a change of language. */
  reset() {
    this.#shown = "";
  }
}
