// The page's texts: the languages have the same ones.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import english from "../../static/chat/strings/en.js";

/** The same in both: names of things and of fields. */
const NAMES = new Set(["title", "interface", "topK", "topP", "minP", "number", "sse"]);

/** @param {string} text */
const places = (text) => [...text.matchAll(/\{\w+\}/g)].map(([name]) => name).sort();

for (const folder of ["strings", "bench", "guest", "inspector"]) {
  test(`each text of ${folder} exists in both languages, with the same places to fill in`, async () => {
    const [ours, theirs] = await Promise.all(["en", "ko"].map(async (language) =>
      (await import(`../../static/chat/${folder}/${language}.js`)).default));
    assert.ok(Object.keys(ours).length > 5);
    assert.deepEqual(Object.keys(theirs).sort(), Object.keys(ours).sort());
    for (const [name, text] of Object.entries(ours)) assert.deepEqual(places(theirs[name]), places(text), name);
    const left = Object.entries(theirs).filter(([name, text]) => !NAMES.has(name)
      && !/[가-힣]/.test(text) && /[A-Za-z]/.test(text.replace(/\{\w+\}/g, "")));
    assert.deepEqual(left, [], "Korean is Korean");
  });
}

test("each text that the markup names exists", async () => {
  const page = await readFile(new URL("../../static/index.html", import.meta.url), "utf-8");
  const named = [...page.matchAll(/data-t(?:-\w+)?="(\w+)"/g)].map(([, name]) => name);
  assert.ok(named.length > 40);
  assert.deepEqual(named.filter((name) => !(name in english)), []);
});
