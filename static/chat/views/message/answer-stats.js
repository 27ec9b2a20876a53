// The line below an answer: its speed, its tokens, and why it ended.

import { language, t } from "../../i18n.js";

/** @typedef {import("../../types.js").Answer} Answer */

// A shorter time means that the text had been waiting and was read at once.
export const SPEED_MIN_S = 0.1;

/** Formats by language and digits: making one is slow, and a running answer's speed is told often. @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/** A number with three digits. @param {number} value */
export function decimal(value) {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  const key = `${language()} ${digits}`;
  const known = formats.get(key);
  const format = known ?? new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits });
  if (known === undefined) formats.set(key, format);
  return format.format(value);
}

/** @param {number} value */
export function whole(value) {
  return value.toLocaleString(language());
}

/**
 * Time to first token, tokens per second and token counts, as far as they are known. An interrupted answer has no speed:
 * the pause would count, and the text from meanwhile arrives at once.
 * @param {Answer} answer
 * @returns {string[]}
 */
export function speedFacts(answer) {
  /** @type {string[]} */
  const facts = [];
  const { sent, first, last, usage, wasInterrupted, restarts } = answer;
  if (answer.state === "open") return facts;
  // Without the first token, whose time is that of the prompt.
  const seconds = (last - first) / 1000;
  if (first > 0 && !wasInterrupted) {
    const hasSpeed = usage !== null && usage.completion > 1 && seconds >= SPEED_MIN_S;
    if (hasSpeed || usage === null) facts.push(t("firstToken", { seconds: decimal((first - sent) / 1000) }));
    // Not the time to the first token alone, which would make a quick answer look slow.
    else facts.push(t("allIn", { seconds: decimal((last - sent) / 1000) }));
    if (hasSpeed) facts.push(t("speed", { rate: decimal((usage.completion - 1) / seconds) }));
  }
  if (usage !== null) {
    const about = restarts > 0 ? "≈ " : "";
    facts.push(t("tokens", { completion: about + whole(usage.completion), prompt: whole(usage.prompt) }));
  }
  return facts;
}

/**
 * Why the answer ended early, or what is unusual about it; empty if nothing is.
 * @param {Answer} answer
 * @param {boolean} isRunning In this tab.
 * @returns {{ text: string, tone: "quiet" | "bad" }}
 */
export function notice(answer, isRunning) {
  if (answer.state === "failed") {
    const reason = answer.error?.message ?? "";
    return { text: answer.error?.code === "context_length_exceeded" ? t("contextFull", { reason }) : reason, tone: "bad" };
  }
  if (answer.state === "stopped") return { text: t("stopped"), tone: "quiet" };
  if (answer.state === "open") return { text: isRunning ? "" : t("elsewhere"), tone: "quiet" };
  if (answer.finish === "length") return { text: t("cut"), tone: "quiet" };
  if (answer.restarts > 0) return { text: t("continuedAfterLoss"), tone: "quiet" };
  return { text: "", tone: "quiet" };
}
