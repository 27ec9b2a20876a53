// What the chat says below an answer of its speed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { speedFacts } from "../../static/chat/views/answer-stats.js";

const SENT = 1_000_000;
const TOKENS = "201 tokens, 9 in the prompt";

function facts(fields) {
  const usage = { prompt: 9, completion: 201 };
  const first = SENT + 50;
  return speedFacts({ state: "done", usage, sent: SENT, first, last: first + 1000, wasInterrupted: false, restarts: 0, ...fields });
}

test("the first token's time is not the others'", () => {
  assert.deepEqual(facts({}), ["0.05 s to first token", "200 tokens/s", TOKENS]);
});

test("an answer that was read all at once has no speed", () => {
  // Its whole time instead: that of the first token alone would make it look slow.
  assert.deepEqual(facts({ last: SENT + 50 + 99 }), ["0.15 s", TOKENS]);
  assert.deepEqual(facts({ last: SENT + 50 + 100 }), ["0.05 s to first token", "2,000 tokens/s", TOKENS]);
});

test("an answer that was interrupted has no times", () => {
  assert.deepEqual(facts({ wasInterrupted: true }), [TOKENS]);
});
