// The page's texts: the languages have the same ones.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import english from "../../static/chat/strings/en.js";
import korean from "../../static/chat/strings/ko.js";

/** The same in both: names. */
const NAMES = new Set(["title", "interface", "topK", "topP", "minP"]);

/** @param {string} text */
const places = (text) => [...text.matchAll(/\{\w+\}/g)].map(([name]) => name).sort();

test("each text exists in both languages, with the same places to fill in", () => {
  assert.deepEqual(Object.keys(korean).sort(), Object.keys(english).sort());
  for (const [name, text] of Object.entries(english)) assert.deepEqual(places(korean[name]), places(text), name);
});

test("Korean is Korean", () => {
  const left = Object.entries(korean).filter(([name, text]) => !NAMES.has(name)
    && !/[가-힣]/.test(text) && /[A-Za-z]/.test(text.replace(/\{\w+\}/g, "")));
  assert.deepEqual(left, []);
});

test("each text that the markup names exists", async () => {
  const page = await readFile(new URL("../../static/index.html", import.meta.url), "utf-8");
  const named = [...page.matchAll(/data-t(?:-\w+)?="(\w+)"/g)].map(([, name]) => name);
  assert.ok(named.length > 40);
  assert.deepEqual(named.filter((name) => !(name in english)), []);
});
