// What the chat says of an answer's speed, and of how far the engine's start is.

import assert from "node:assert/strict";
import { test } from "node:test";

import { statusText } from "../../static/chat/views/status-view.js";
import { speedFacts } from "../../static/chat/views/message/answer-stats.js";

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

test("a start says how far it is, where that is known", () => {
  const said = (reason, progress) => statusText({ kind: "loading", reason, progress, seconds: 7, wire: "websocket" });
  assert.equal(said("warming up", null), "Warming up · 7 s");
  assert.equal(said("loading the model", { done: 1, total: 4, unit: "files" }), "Loading the model: 1 of 4 files · 7 s");
  assert.equal(said("loading the model", { done: 0, total: 1, unit: "files" }), "Loading the model · 7 s");
  const bytes = (done, total) => said("downloading the model", { done, total, unit: "bytes" });
  assert.equal(bytes(21.04e9, 140e9), "Downloading the model: 21.0 of 140.0 GB · 7 s");
  assert.equal(bytes(0, 64e6), "Downloading the model: 0 of 64 MB · 7 s");
  assert.equal(said("capturing CUDA graphs", { done: 3, total: 35, unit: "steps" }), "Warming up: 3 of 35 · 7 s");
});
