// The fields of settings that are JSON in the API.

import assert from "node:assert/strict";
import { test } from "node:test";

import { choiceFrom, choiceText } from "../../static/chat/state/exchange/json-fields.js";

test("a choice of a tool is shown as it is read", () => {
  for (const text of ["auto", "none", "weather"]) assert.equal(choiceText(choiceFrom(text)), text);
});

test("an imported choice without a name is shown as JSON", () => {
  for (const choice of [{ type: "function" }, { type: "function", function: {} }, { type: "function", name: "weather" },
    { type: "function", function: null }, { type: "custom", custom: { name: "patch" } }]) {
    assert.deepEqual(choiceFrom(choiceText(choice)), choice);
  }
});
