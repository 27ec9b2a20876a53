// Vercel's AI SDK on responses, which its provider for OpenAI uses by default: tools, objects and reasoning.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CALL, load, question, server, skip, THE_REQUEST, TWO, tools, WEATHER } from "./ai_sdk.mjs";

const { generateText, Output, stepCountIs, streamText } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { z } = await load("zod");

const model = skip || createOpenAI(server)("guide");
/** By default, a step refers to stored reasoning of the steps before it; with `store: false`, it cannot. */
const WAYS = [{}, { store: false }, { store: false, forceReasoning: true, reasoningEffort: "low", reasoningSummary: "auto" }];
const schema = skip || z.object({ city: z.string(), degrees: z.number() });

for (const openai of WAYS) {
  const options = { system: "Be brief.", providerOptions: { openai } };
  const named = JSON.stringify(openai);

  test(`a stream goes on to the end of its steps: ${named}`, { skip }, async () => {
    const turns = [`I look.\n${TWO}`, `Once more.\n${CALL}`, "Sunny in both."];
    const result = streamText({ model, tools: tools(), stopWhen: stepCountIs(5), ...options, ...question(turns) });
    const parts = [];
    for await (const part of result.fullStream) parts.push(part);
    assert.deepEqual(parts.filter(({ type }) => type === "error"), []);
    const steps = await result.steps;
    assert.deepEqual(steps.map(({ text }) => text.trim()), ["I look.", "Once more.", "Sunny in both."]);
    assert.deepEqual(steps.map(({ finishReason }) => finishReason), ["tool-calls", "tool-calls", "stop"]);
    const results = steps.map(({ toolResults }) => toolResults.map(({ output }) => output));
    assert.deepEqual(results, [["sunny in Rome", "sunny in Seoul"], ["sunny in Rome"], []]);
    assert.ok(parts.filter(({ type }) => type === "text-delta").length > 3);
    assert.ok(parts.filter(({ type }) => type === "tool-input-delta").length > 3);
    assert.ok((await result.totalUsage).outputTokens > 0);
  });

  test(`an object is made behind tool calls: ${named}`, { skip }, async () => {
    const { output, steps } = await generateText({
      model, tools: tools(), stopWhen: stepCountIs(3), output: Output.object({ schema }), ...options,
      ...question([CALL, JSON.stringify(WEATHER)]),
    });
    assert.equal(steps.length, 2);
    assert.deepEqual(output, WEATHER);
  });

  test(`thoughts come before a call: ${named}`, { skip }, async () => {
    const turns = [`<think>\nOf Rome.\n</think>\n\n${CALL}`, THE_REQUEST];
    const result = streamText({
      model, tools: tools(), stopWhen: stepCountIs(3), ...options, ...question(turns, { thinks_by_default: true }),
    });
    const parts = [];
    for await (const part of result.fullStream) parts.push(part);
    assert.deepEqual(parts.filter(({ type }) => type === "error"), []);
    assert.ok((await result.totalUsage).outputTokenDetails.reasoningTokens > 0);
    const { messages } = JSON.parse(await result.text);
    const system = openai.forceReasoning ? "developer" : "system";
    assert.deepEqual(messages.map(({ role }) => role), [system, "user", "assistant", "tool"]);
    // The provider shows no reasoning but summaries, and returns it only as a reference to a stored item.
    assert.equal(messages[2].reasoning, openai.store === false ? undefined : "Of Rome.");
  });
}

test("an object is made and streamed", { skip }, async () => {
  const asked = { model, output: Output.object({ schema }), ...question([JSON.stringify(WEATHER)]) };
  assert.deepEqual((await generateText(asked)).output, WEATHER);
  const { output, partialOutputStream } = streamText(asked);
  const seen = [];
  for await (const part of partialOutputStream) seen.push(part);
  assert.ok(seen.length > 1);
  assert.deepEqual(await output, WEATHER);
});

test("the model is held to the schema of the object", { skip }, async () => {
  const loose = Output.object({ schema: z.looseObject({ schema: z.object({ required: z.array(z.string()) }) }) });
  const { output } = await generateText({ model, output: loose, ...question([THE_REQUEST]) });
  assert.deepEqual(output.schema.required, ["schema"]);
});

for (const toolChoice of ["required", { type: "tool", toolName: "getWeather" }]) {
  test(`the tool choice ${JSON.stringify(toolChoice)} is taken`, { skip }, async () => {
    const { toolCalls } = await generateText({ model, tools: tools(), toolChoice, ...question([CALL, "Sunny."]) });
    assert.deepEqual(toolCalls.map(({ input }) => input), [{ city: "Rome" }]);
  });
}
