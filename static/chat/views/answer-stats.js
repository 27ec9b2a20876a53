// What is said below an answer: its speed and its tokens, and why it ended as it did. Does not know how it is shown.

import { language, t } from "../i18n.js";

/** @typedef {import("../types.js").Answer} Answer */

// What comes in less time was waiting: the page was busy, and then read it all at once.
const SPEED_MIN_S = 0.1;

/** @param {number} value */
function decimal(value) {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return value.toLocaleString(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {number} value */
function whole(value) {
  return value.toLocaleString(language());
}

/**
 * Time to the first token, tokens a second, tokens; only what is known. An answer that was interrupted has no speed of
 * its own: the pause is not the server's, and what it brought meanwhile came at once.
 * @param {Answer} answer
 * @returns {string[]}
 */
export function speedFacts(answer) {
  /** @type {string[]} */
  const facts = [];
  const { sent, first, last, usage, wasInterrupted, restarts } = answer;
  if (answer.state === "open") return facts;
  if (first > 0 && !wasInterrupted) facts.push(t("firstToken", { seconds: decimal((first - sent) / 1000) }));
  // The first token's time is the prompt's.
  const seconds = (last - first) / 1000;
  if (usage !== null && usage.completion > 1 && seconds >= SPEED_MIN_S && !wasInterrupted) {
    facts.push(t("speed", { rate: decimal((usage.completion - 1) / seconds) }));
  }
  if (usage !== null) {
    const about = restarts > 0 ? "≈ " : "";
    facts.push(t("tokens", { completion: about + whole(usage.completion), prompt: whole(usage.prompt) }));
  }
  return facts;
}

/**
 * Why there is no more of it, or what is not as usual about it; empty where all is well.
 * @param {Answer} answer
 * @param {boolean} isRunning In this tab.
 * @returns {{ text: string, tone: "quiet" | "bad" }}
 */
export function notice(answer, isRunning) {
  if (answer.state === "failed") {
    const said = answer.error?.message ?? "";
    return { text: answer.error?.code === "context_length_exceeded" ? t("contextFull", { said }) : said, tone: "bad" };
  }
  if (answer.state === "stopped") return { text: t("stopped"), tone: "quiet" };
  if (answer.state === "open") return { text: isRunning ? "" : t("elsewhere"), tone: "quiet" };
  if (answer.finish === "length") return { text: t("cut"), tone: "quiet" };
  if (answer.restarts > 0) return { text: t("continuedAfterLoss"), tone: "quiet" };
  return { text: "", tone: "quiet" };
}
