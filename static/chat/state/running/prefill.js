// Has the server read the shown dialogue while the next question is typed, so that its answer begins sooner. What is
// being typed is not sent: its writer may still think better of it.

import { bodyOf, turnOf } from "./request.js";

/**
 * @typedef {object} Dialogue
 * @property {string} model
 * @property {import("../../types.js").Sampling} sampling
 * @property {import("../../types.js").Message[]} path
 */

const DELAY_MS = 200;
/** A shorter request is read in no time. */
const MIN_CHARS = 2000;
/** How long the server probably keeps what it has read. */
const FRESH_MS = 120_000;

let last = { text: "", at: 0 };
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * @param {import("../../../channel.js").Channel} channel
 * @param {() => Dialogue | null} dialogue Null while it is being answered.
 */
export function readAhead(channel, dialogue) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const now = dialogue();
    if (now === null) return;
    // Chat templates look for the last question, and some drop earlier thoughts before it.
    const body = bodyOf(now.model, now.sampling, [...now.path.map(turnOf), { role: "user", content: "…" }]);
    const text = JSON.stringify(body);
    if (text.length < MIN_CHARS || (text === last.text && Date.now() - last.at < FRESH_MS)) return;
    last = { text, at: Date.now() };
    void channel.prefill(body);
  }, DELAY_MS);
}
