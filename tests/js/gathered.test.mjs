// Reasoning and tool calls, gathered from a stream's deltas.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Gathered } from "../../static/channel/gathered.js";

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
