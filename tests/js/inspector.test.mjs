// What the wire inspector records, and the programs that it makes of a request.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mock, test } from "node:test";

import { Recorder } from "../../static/chat/inspector/recorder.js";
import { MAX_ROWS } from "../../static/chat/inspector/recording.js";
import { SNIPPETS } from "../../static/chat/inspector/snippets.js";
import { chunk, Network, settled } from "./fakes.mjs";

const BODY = { model: "m", messages: [{ role: "user", content: "It's \"quoted\"\n" }], top_k: 1, logprobs: true, stop: [] };

/** A recorder with the frames that a test gives it, and what it has called. */
function recorder() {
  const known = [];
  const made = new Recorder({ begun: () => {}, known: (_, token) => known.push(token), changed: () => {} });
  const add = (direction, frame) => made.add(direction, JSON.stringify(frame));
  return { made, known, sent: (frame) => add("sent", frame), received: (frame) => add("received", frame) };
}

function begun() {
  const all = recorder();
  all.sent({ type: "chat.completion.create", stream_id: "s1", body: BODY });
  all.received({ type: "chat.completion.created", stream_id: "s1", id: "chatcmpl-1", follow_token: "f" });
  return all;
}

function chunkFrame(seq, streamId = "s1") {
  return { type: "chat.completion.chunk", stream_id: streamId, seq, data: chunk(`${seq} `) };
}

test("a channel shows its frames as they are, and resumes after its connection was cut", async (t) => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  t.after(() => mock.timers.reset());
  const network = new Network();
  const [channel, socket] = await network.readyChannel();
  const seen = [];
  channel.onFrame = (direction, text) => seen.push([direction, JSON.parse(text).type]);
  channel.create(BODY, { resumeGrace: 60 });
  socket.created("s1", { resume_token: "t" });
  socket.chunks("s1", 1, 2);
  channel.cut();
  assert.equal(socket.closedWith.code, 1000);
  const next = await network.nextSocket();
  next.accept();
  await settled();
  assert.equal(next.last("chat.completion.resume").starting_after, 2);
  assert.deepEqual(seen, [
    ["sent", "chat.completion.create"], ["received", "chat.completion.created"],
    ["received", "chat.completion.chunk"], ["received", "chat.completion.chunk"],
    ["received", "connection.ready"], ["sent", "chat.completion.resume"],
  ]);
  channel.onFrame = undefined;
  next.chunks("s2", 3, 3);
  assert.equal(seen.length, 6);
  channel.close();
  channel.cut();
  assert.equal(network.sockets.length, 2);
});

test("a chunk is compared with the event of its number, whichever comes first", () => {
  const { made, known, received } = begun();
  assert.deepEqual(known, ["f"]);
  const { recording } = made;
  assert.deepEqual(recording.body, BODY);
  recording.addEvent("1", JSON.stringify(chunk("1 ")));
  received(chunkFrame(1));
  received(chunkFrame(2));
  recording.addEvent("2", JSON.stringify(chunk("another ")));
  const [, , first, second] = recording.rows;
  assert.deepEqual([first.seq, first.isSame, second.seq, second.isSame], [1, true, 2, false]);
  assert.deepEqual([recording.same, recording.different], [1, 1]);
  assert.equal(first.event.bytes, Buffer.byteLength(first.event.text));
});

test("after a loss, the chunks that were made meanwhile are marked as replayed", () => {
  const { made, sent, received } = begun();
  const { recording } = made;
  received(chunkFrame(1));
  made.addLoss();
  made.addLoss();
  sent({ type: "chat.completion.resume", stream_id: "s2", id: "chatcmpl-1", starting_after: 1 });
  received({ type: "chat.completion.resumed", stream_id: "s2", first_seq: 2, last_seq: 3 });
  for (const seq of [2, 3, 4]) received(chunkFrame(seq, "s2"));
  received({ type: "chat.completion.done", stream_id: "s2", seq: 4, status: "completed" });
  assert.equal(made.recording, recording);
  assert.equal(recording.isOver, true);
  assert.deepEqual(recording.rows.filter(({ seq }) => seq > 0).map((row) => row.isReplayed), [false, true, true, false]);
  assert.deepEqual(recording.rows.filter(({ seq }) => seq === 0).map((row) => row.label),
    ["create", "created", "1", "resume starting_after 1", "resumed 2–3", "done completed"]);
});

test("frames of other generations, heartbeats and what is not JSON are left out", () => {
  const { made, sent, received } = begun();
  const count = made.recording.rows.length;
  received(chunkFrame(1, "s9"));
  received({ type: "ping", t: 1 });
  sent({ type: "pong", t: 1 });
  received({ type: "server.stats", running: 1 });
  made.add("received", "{");
  assert.equal(made.recording.rows.length, count);
});

test("an answer that runs already is recorded from its next chunk on", () => {
  const { made, known, received } = recorder();
  received(chunkFrame(7, "s3"));
  assert.deepEqual([made.recording.id, made.recording.startingAfter, made.recording.body], ["chatcmpl-1", 6, null]);
  assert.deepEqual(known, [""]);
});

test("of a long answer, the newest rows are kept", () => {
  const { made, received } = begun();
  const { recording } = made;
  const last = MAX_ROWS + 500;
  for (let seq = 1; seq <= last; seq += 1) received(chunkFrame(seq));
  recording.addEvent("1", JSON.stringify(chunk("1 ")));
  assert.equal(recording.rows.length, MAX_ROWS);
  assert.equal(recording.rows[0].seq, last - MAX_ROWS + 1);
  assert.equal(recording.frames.pieces, last + 2);
  assert.equal(recording.takeChanges().changed.size, MAX_ROWS);
});

test("a long frame is kept in part and counted whole", () => {
  const { made, sent } = recorder();
  sent({ type: "chat.completion.create", stream_id: "s1", body: { text: "é".repeat(100_000) } });
  const { frame } = made.recording.rows[0];
  assert.equal(frame.isCut, true);
  assert.ok(frame.text.length < 70_000);
  assert.ok(frame.bytes > 200_000);
});

test("the programs say what the page has sent, and no key", () => {
  const request = { body: BODY, root: "http://127.0.0.1:1/", hasKey: true };
  const shell = SNIPPETS.curl(request).replace("curl", "printf '%s\\0'");
  const words = execFileSync("sh", ["-c", shell], { env: { OPENAI_API_KEY: "k" }, encoding: "utf8" }).split("\0");
  assert.deepEqual(JSON.parse(words[words.indexOf("-d") + 1]), { ...BODY, stream: true });
  assert.ok(words.includes("Authorization: Bearer k"));
  assert.match(SNIPPETS.Python(request), /"logprobs": True,/);
  assert.match(SNIPPETS.JavaScript(request), /apiKey: process\.env\.OPENAI_API_KEY/);
  assert.doesNotMatch(SNIPPETS.curl({ ...request, hasKey: false }), /Authorization/);
});
