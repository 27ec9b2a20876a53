// Vercel's AI SDK on chat completions: tools, objects and reasoning.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CALL, load, question, server, skip, TWO, tools, WEATHER } from "./ai_sdk.mjs";

const { generateObject, generateText, Output, stepCountIs, streamObject, streamText } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { z } = await load("zod");

const model = skip || createOpenAICompatible(server)("guide");
const strict = skip || createOpenAICompatible({ ...server, includeUsage: true, supportsStructuredOutputs: true })("guide");

test("tools are called until there is an answer", { skip }, async () => {
  const { text, steps } = await generateText({
    model, tools: tools(), stopWhen: stepCountIs(3), ...question([`I look.\n${TWO}`, "Sunny in both."]),
  });
  assert.equal(text, "Sunny in both.");
  assert.equal(steps[0].text, "I look.");
  assert.equal(steps[0].finishReason, "tool-calls");
  assert.deepEqual(steps[0].toolResults.map(({ output }) => output), ["sunny in Rome", "sunny in Seoul"]);
});

test("a stream has calls, reasoning, text and usage", { skip }, async () => {
  const options = question([`<think>\nOf Rome.\n</think>\n\n${CALL}`, "It is sunny."], { thinks_by_default: true });
  const parts = [];
  const result = streamText({ model: strict, tools: tools(), stopWhen: stepCountIs(3), ...options });
  for await (const part of result.fullStream) parts.push(part);
  const textOf = (type) => parts.filter((part) => part.type === type).map(({ text }) => text).join("");
  assert.equal(textOf("reasoning-delta"), "Of Rome.");
  assert.equal(textOf("text-delta"), "It is sunny.");
  assert.deepEqual(parts.find(({ type }) => type === "tool-call").input, { city: "Rome" });
  assert.ok(parts.filter(({ type }) => type === "tool-input-delta").length > 1);
  assert.equal(parts.find(({ type }) => type === "error"), undefined);
  assert.ok((await result.totalUsage).outputTokens > 0);
});

for (const toolChoice of ["required", { type: "tool", toolName: "getWeather" }]) {
  test(`the tool choice ${JSON.stringify(toolChoice)} is taken`, { skip }, async () => {
    const { toolCalls } = await generateText({ model, tools: tools(), toolChoice, ...question([CALL, "Sunny."]) });
    assert.deepEqual(toolCalls.map(({ input }) => input), [{ city: "Rome" }]);
  });
}

test("an object is made", { skip }, async () => {
  const schema = z.object({ city: z.string(), degrees: z.number() });
  for (const each of [model, strict]) {
    const { object } = await generateObject({ model: each, schema, ...question([JSON.stringify(WEATHER)]) });
    assert.deepEqual(object, WEATHER);
  }
  const { object, partialObjectStream } = streamObject({ model: strict, schema, ...question([JSON.stringify(WEATHER)]) });
  const seen = [];
  for await (const part of partialObjectStream) seen.push(part);
  assert.ok(seen.length > 1);
  assert.deepEqual(await object, WEATHER);
});

test("an object is made behind tool calls", { skip }, async () => {
  const schema = z.object({ city: z.string(), degrees: z.number() });
  const { output } = await generateText({
    model: strict, tools: tools(), stopWhen: stepCountIs(3), output: Output.object({ schema }),
    ...question([CALL, JSON.stringify(WEATHER)]),
  });
  assert.deepEqual(output, WEATHER);
});
