// The comparison of two texts, word by word.

import assert from "node:assert/strict";
import { test } from "node:test";

import { compare } from "../../static/chat/bench/diff.js";

/** The comparison as one text: what only the first has in [], what only the second has in {}. */
function marked(first, second) {
  const marks = { same: ["", ""], first: ["[", "]"], second: ["{", "}"] };
  return compare(first, second).parts.map((part) => marks[part.in].join(part.text)).join("");
}

test("words are compared, not letters or white space", () => {
  assert.equal(marked("The cat sat down.", "The  dog sat\ndown."), "The  [cat ]{dog }sat\ndown.");
  assert.equal(marked("one two", "one two"), "one two");
  assert.equal(marked("", "new"), "{new}");
  assert.equal(marked("old", ""), "[old]");
});

test("the share of equal words counts both texts", () => {
  assert.equal(compare("", "").sameShare, 1);
  assert.equal(compare("a b", "c d").sameShare, 0);
  assert.equal(compare("a b c", "a").sameShare, 0.5);
});

test("no word of either text is lost", () => {
  const words = (seed) => Array.from({ length: 300 }, (_, at) => "xyz"[(at * seed * seed + at) % 3]).join(" ");
  const [first, second] = [words(3), words(7)];
  const { parts } = compare(first, second);
  const of = (other) => parts.filter((part) => part.in !== other).map(({ text }) => text).join("").split(/\s+/).join("");
  assert.equal(of("second"), first.replaceAll(" ", ""));
  assert.equal(of("first"), second.replaceAll(" ", ""));
});

test("a middle that is too long is marked whole", () => {
  const [first, second] = ["a ", "b "].map((word) => `same ${word.repeat(4000)}end`);
  const { parts, isCoarse } = compare(first, second);
  assert.ok(isCoarse);
  assert.deepEqual(parts.map((part) => part.in), ["same", "first", "second", "same"]);
});
