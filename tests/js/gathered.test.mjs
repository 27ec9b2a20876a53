// Reasoning and tool calls, gathered from a stream's deltas.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Gathered } from "../../static/channel/gathered.js";
import { drained, Network } from "./fakes.mjs";

/** @param {...object} deltas */
function gathered(...deltas) {
  const made = new Gathered();
  for (const delta of deltas) made.add(delta);
  return made;
}

test("reasoning is joined", () => {
  assert.equal(gathered({ reasoning: "Hm" }, { content: "Yes" }, { reasoning: "." }).reasoning, "Hm.");
});

test("a call has its id and name once, and its arguments joined", () => {
  const begun = { index: 0, id: "call_1", type: "function", function: { name: "f", arguments: "" } };
  const deltas = [begun, { index: 0, function: { arguments: '{"a"' } }, { index: 0, function: { arguments: ": 1}" } }];
  const { toolCalls } = gathered(...deltas.map((call) => ({ tool_calls: [call] })));
  assert.deepEqual(toolCalls, [{ id: "call_1", type: "function", function: { name: "f", arguments: '{"a": 1}' } }]);
});

test("several calls are kept apart, also a custom tool's", () => {
  const { toolCalls } = gathered(
    { tool_calls: [{ index: 0, id: "a", type: "function", function: { name: "f", arguments: "{}" } }] },
    { tool_calls: [{ index: 1, id: "b", type: "custom", custom: { name: "sh", input: "" } }] },
    { tool_calls: [{ index: 1, custom: { input: "ls" } }] },
  );
  assert.equal(toolCalls[0].function?.arguments, "{}");
  assert.deepEqual(toolCalls[1], { id: "b", type: "custom", custom: { name: "sh", input: "ls" } });
});

test("a call whose beginning was missed is left out", () => {
  assert.deepEqual(gathered({ tool_calls: [{ index: 0, function: { arguments: "}" } }] }).toolCalls, []);
});

/** @type {import("../../static/channel/gathered.js").ToolCall} */
const BEGUN = { id: "call_1", type: "function", function: { name: "f", arguments: '{"a"' } };

/**
 * A generation that was resumed after chunk 2, once it has had the rest of a thought and of a call.
 * @param {(channel: import("../../static/channel.js").Channel) => import("../../static/channel.js").Generation} begin
 */
async function resumed(begin) {
  const network = new Network();
  const [channel, socket] = await network.readyChannel();
  const generation = begin(channel);
  const { stream_id, type } = socket.sent[0];
  socket.frame({ type: `${type}d`, stream_id });
  socket.delta(stream_id, 3, { reasoning: "m." });
  socket.delta(stream_id, 4, { tool_calls: [{ index: 0, function: { arguments: ": 1}" } }] });
  socket.done(stream_id, 4);
  assert.equal((await drained(generation)).error, null);
  channel.close();
  return generation;
}

test("a resumed generation goes on in the middle of a thought and of a call", async () => {
  const from = { id: "chatcmpl-1", startingAfter: 2, reasoning: "H", toolCalls: [structuredClone(BEGUN)] };
  const { reasoning, toolCalls } = await resumed((channel) => channel.resume({ resumeToken: "token", ...from }));
  assert.equal(reasoning, "Hm.");
  assert.deepEqual(toolCalls, [{ ...BEGUN, function: { name: "f", arguments: '{"a": 1}' } }]);
  // What the caller has kept is as it was.
  assert.deepEqual(from.toolCalls, [BEGUN]);
});

test("a generation that is resumed without what came before has the rest alone", async () => {
  const { reasoning, toolCalls } = await resumed((channel) => (
    channel.resume({ id: "chatcmpl-1", resumeToken: "token", startingAfter: 2 })));
  assert.deepEqual([reasoning, toolCalls], ["m.", []]);
});
