// Images of questions: how they are sent, exported and imported.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromJsonLines, toJsonLines, toMarkdown } from "../../static/chat/state/exchange/formats.js";
import { fromFile, toFile } from "../../static/chat/state/exchange/import-export.js";
import { newConversation, newQuestion } from "../../static/chat/state/messages.js";

const PICTURE = { url: "data:image/png;base64,iVBORw0KGgo=", name: "a [b].png", width: 2, height: 1 };
const PARTS = [{ type: "image_url", image_url: { url: PICTURE.url } }, { type: "text", text: "What is this?" }];

/** @param {object[]} pictures */
function chat(pictures) {
  const conversation = newConversation("c", {});
  const question = newQuestion("c", null, "What is this?", pictures);
  conversation.leaf = question.id;
  return { conversations: [conversation], messages: [question] };
}

test("an image is a part of its message, also in OpenAI's form", () => {
  const { conversations, messages } = chat([PICTURE]);
  const lines = toJsonLines(conversations, messages);
  assert.deepEqual(JSON.parse(lines).messages, [{ role: "user", content: PARTS }]);
  const [question] = fromJsonLines(lines).messages;
  assert.equal(question.text, "What is this?");
  assert.deepEqual(question.pictures, [{ ...PICTURE, name: "", width: 0, height: 0 }]);
  assert.ok(toMarkdown(conversations, messages, () => "Question").includes(`![a b.png](${PICTURE.url})\n\nWhat is this?`));
});

test("an exported image can be imported, and nothing else in its place", () => {
  const bad = ["https://remote.example/x.png", "data:image/svg+xml;base64,AAAA", "data:image/png;base64,<x>", 3].map((url) => ({ ...PICTURE, url }));
  const { conversations, messages } = chat([PICTURE, ...bad]);
  assert.deepEqual(fromFile(toFile(conversations, messages)).messages[0].pictures, [PICTURE]);
});

test("a question without images is a text", () => {
  const { conversations, messages } = chat([]);
  assert.deepEqual(JSON.parse(toJsonLines(conversations, messages)).messages, [{ role: "user", content: "What is this?" }]);
});
