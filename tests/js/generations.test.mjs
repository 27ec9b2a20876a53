// What a reader gets of a generation, whatever happens to the socket under it.

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { ChannelError } from "../../static/channel.js";
import { drained, LIMITS, Network, settled, USAGE } from "./fakes.mjs";

const BODY = { model: "m", messages: [{ role: "user", content: "Hi" }] };

/** @type {Network} */
let network;

beforeEach(() => {
  mock.restoreAll();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  network = new Network();
});

/** A running generation on a ready channel; `resumable` ones have the token "secret". */
async function running({ resumable = false, signal = undefined } = {}) {
  const [channel, socket] = await network.readyChannel();
  const generation = channel.create(BODY, { resumeGrace: resumable ? 30 : undefined, signal });
  const { stream_id } = socket.last("chat.completion.create");
  socket.created(stream_id, resumable ? { resume_token: "secret" } : {});
  return { channel, socket, generation, stream: stream_id };
}

test("a create carries the body as it was, its grace and its ids", async () => {
  const channel = network.channel();
  const body = structuredClone(BODY);
  channel.create(body, { resumeGrace: 30 });
  body.messages[0].content = "changed while it waited";
  await settled();
  network.socket.accept();
  const { stream_id, ...frame } = network.socket.sent[0];
  const resume = { grace_s: 30 };
  assert.deepEqual(frame, { type: "chat.completion.create", event_id: stream_id, resume, body: BODY });
});

test("a body that is no JSON is refused where it is given", async () => {
  const [channel] = await network.readyChannel();
  assert.throws(() => channel.create({ n: 1n }), TypeError);
});

test("the iterator gives the chunks as they are, and the end", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 3);
  socket.done(stream, 3);
  const { chunks, error } = await drained(generation);
  assert.equal(error, null);
  assert.deepEqual(chunks.map((piece) => piece.choices[0].delta.content), ["1 ", "2 ", "3 "]);
  assert.equal(generation.text, "1 2 3 ");
  assert.equal(generation.id, "chatcmpl-1");
  assert.equal(generation.seq, 3);
  assert.equal(generation.status, "completed");
  assert.deepEqual(generation.usage, USAGE);
  assert.deepEqual(network.problems, []);
});

test("created tells when the id is there", async () => {
  const { generation } = await running({ resumable: true });
  assert.equal(await generation.created, generation);
  assert.equal(generation.resumeToken, "secret");
});

test("what a generation says of itself is of the chunks that were taken", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 2);
  socket.done(stream, 2);
  await generation.next();
  assert.deepEqual([generation.seq, generation.text, generation.status], [1, "1 ", "running"]);
  assert.deepEqual([generation.usage, generation.waitingChunks], [null, 1]);
  await generation.next();
  assert.deepEqual([generation.seq, generation.text, generation.status], [2, "1 2 ", "completed"]);
});

test("several calls of next that wait are served in order", async () => {
  const { socket, generation, stream } = await running();
  const waiting = [generation.next(), generation.next(), generation.next()];
  socket.chunks(stream, 1, 2);
  socket.done(stream, 2);
  const results = await Promise.all(waiting);
  assert.deepEqual(results.map((result) => result.value?.choices[0].delta.content), ["1 ", "2 ", undefined]);
  assert.equal(results[2].done, true);
});

test("streams that share the socket are told apart", async () => {
  const [channel, socket] = await network.readyChannel();
  const generations = Array.from({ length: 8 }, () => channel.create(BODY));
  const streams = socket.sent.map((frame) => frame.stream_id);
  assert.equal(new Set(streams).size, 8);
  for (const stream of streams) socket.created(stream);
  for (let seq = 1; seq <= 3; seq += 1) for (const stream of streams) socket.chunks(stream, seq, seq);
  for (const stream of streams) socket.done(stream, 3);
  for (const generation of generations) {
    await drained(generation);
    assert.equal(generation.text, "1 2 3 ");
  }
});

test("a create that is refused throws with all the fields of the error, and its neighbour goes on", async () => {
  const { channel, socket, generation, stream } = await running();
  const refused = channel.create(BODY);
  const { stream_id } = socket.last("chat.completion.create");
  socket.error(429, "too_many_streams", { stream_id, event_id: stream_id, retry_after_s: 1 });
  const { error } = await drained(refused);
  assert.ok(error instanceof ChannelError);
  assert.deepEqual([error.status, error.code, error.retryAfterS], [429, "too_many_streams", 1]);
  assert.equal(refused.status, "failed");
  await assert.rejects(refused.created, error);
  socket.chunks(stream, 1, 1);
  socket.done(stream, 1);
  assert.equal((await drained(generation)).error, null);
});

test("one that fails midway gives its chunks, then throws, once", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 2);
  socket.error(503, "engine_died", { stream_id: stream });
  assert.equal(generation.status, "running");
  socket.done(stream, 2, "failed");
  const { chunks, error } = await drained(generation);
  assert.equal(chunks.length, 2);
  assert.equal(error.code, "engine_died");
  assert.equal(generation.status, "failed");
  assert.equal(generation.error, error);
  assert.deepEqual(generation.usage, USAGE);
  assert.deepEqual(await generation.next(), { done: true, value: undefined });
});

test("what comes after the terminal frame is reported and not given to the reader", async () => {
  const { socket, generation, stream } = await running();
  socket.done(stream, 0);
  socket.chunks(stream, 1, 1);
  assert.deepEqual((await drained(generation)).chunks, []);
  assert.equal(network.problems.length, 1);
  assert.equal(network.problems[0].code, "protocol_error");
});

test("a type of frame that a later server may have is ignored", async () => {
  const { socket, generation, stream } = await running();
  socket.frame({ type: "server.weather", sun: true });
  socket.frame({ type: "chat.completion.weather", stream_id: stream });
  socket.done(stream, 0);
  assert.equal((await drained(generation)).error, null);
  assert.deepEqual(network.problems, []);
});

// -- coming back ------------------------------------------------------------------------------------------------------

test("a resumable generation goes on after a cut, from the last chunk that came", async () => {
  const { socket, generation, stream } = await running({ resumable: true });
  socket.chunks(stream, 1, 3);
  await generation.next();
  const second = await network.reconnected();
  const { stream_id, event_id, ...frame } = second.last("chat.completion.resume");
  const wanted = { type: "chat.completion.resume", id: "chatcmpl-1", resume_token: "secret", starting_after: 3 };
  assert.deepEqual(frame, wanted);
  assert.notEqual(stream_id, stream);
  assert.equal(network.lastState[0], "ready");
  second.frame({ type: "chat.completion.resumed", stream_id, event_id, first_seq: 4, last_seq: 5 });
  assert.deepEqual(network.lastState, ["resumed", { resumed: 1, lost: 0 }]);
  second.chunks(stream_id, 4, 5);
  second.done(stream_id, 5);
  await drained(generation);
  assert.equal(generation.text, "1 2 3 4 5 ");
  assert.deepEqual(network.stateNames, ["connecting", "ready", "reconnecting", "ready", "resumed"]);
  assert.deepEqual(network.problems, []);
});

test("a cut that comes before the answer to the resume is survived too", async () => {
  const { socket, generation, stream } = await running({ resumable: true });
  socket.chunks(stream, 1, 1);
  await network.reconnected();
  const third = await network.reconnected();
  const { stream_id, starting_after } = third.last("chat.completion.resume");
  assert.equal(starting_after, 1);
  third.frame({ type: "chat.completion.resumed", stream_id, first_seq: 2, last_seq: 1 });
  third.chunks(stream_id, 2, 2);
  third.done(stream_id, 2);
  await drained(generation);
  assert.equal(generation.text, "1 2 ");
});

test("one that is gone at the server throws what the server says, and nothing counts as resumed", async () => {
  const { generation } = await running({ resumable: true });
  const second = await network.reconnected();
  const { stream_id } = second.last("chat.completion.resume");
  second.error(404, "completion_not_found", { stream_id, event_id: stream_id });
  assert.equal((await drained(generation)).error.code, "completion_not_found");
  assert.equal(network.lastState[0], "ready");
});

test("a resume that the server has no room for is asked for again", async () => {
  const { generation } = await running({ resumable: true });
  const second = await network.reconnected();
  const first = second.last("chat.completion.resume").stream_id;
  second.error(503, "server_draining", { stream_id: first, event_id: first, retry_after_s: 5 });
  assert.equal(generation.status, "running");
  mock.timers.tick(4999);
  assert.equal(second.count("chat.completion.resume"), 1);
  mock.timers.tick(5001);
  const again = second.last("chat.completion.resume").stream_id;
  assert.notEqual(again, first);
  second.frame({ type: "chat.completion.resumed", stream_id: again, first_seq: 1, last_seq: 0 });
  second.done(again, 0);
  assert.equal((await drained(generation)).error, null);
});

test("one that is not resumable throws when its socket is lost, and keeps its text", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 2);
  socket.drop(1006);
  const { chunks, error } = await drained(generation);
  assert.equal(chunks.length, 2);
  assert.equal(error.code, "connection_lost");
  assert.equal(error.closeCode, 1006);
  assert.equal(generation.text, "1 2 ");
});

test("a create that was not answered is sent again, under another name", async () => {
  const [channel, socket] = await network.readyChannel();
  const generation = channel.create(BODY);
  const second = await network.reconnected();
  const { stream_id, body } = second.last("chat.completion.create");
  assert.notEqual(stream_id, socket.last("chat.completion.create").stream_id);
  assert.deepEqual(body, BODY);
  second.created(stream_id);
  second.done(stream_id, 0);
  assert.equal((await drained(generation)).error, null);
});

test("a create that ends every connection is given up after three", async () => {
  const [channel] = await network.readyChannel();
  const generation = channel.create(BODY);
  await network.reconnected();
  const third = await network.reconnected();
  assert.equal(third.count("chat.completion.create"), 1);
  const fourth = await network.reconnected();
  assert.equal(fourth.count("chat.completion.create"), 0);
  assert.equal((await drained(generation)).error.code, "connection_lost");
});

test("a create that was too big for the connection is not sent again", async () => {
  const [channel] = await network.readyChannel();
  const generation = channel.create(BODY);
  const second = await network.reconnected(1009);
  assert.equal(second.count("chat.completion.create"), 0);
  assert.equal((await drained(generation)).error.closeCode, 1009);
});

test("a create that the server's limit forbids is not sent at all", async () => {
  const { channel, socket, generation, stream } = await running();
  // Fewer characters than the limit has bytes.
  const content = "é".repeat(LIMITS.max_message_bytes / 2);
  const big = channel.create({ ...BODY, messages: [{ role: "user", content }] });
  assert.equal(socket.count("chat.completion.create"), 1);
  const { error } = await drained(big);
  assert.deepEqual([error.code, error.status], ["request_too_large", 413]);
  socket.done(stream, 0);
  assert.equal((await drained(generation)).error, null);
});

test("creates wait while there is no connection, and go in their order, after the resumes", async () => {
  const { channel, socket } = await running({ resumable: true });
  socket.drop();
  channel.create({ ...BODY, seed: 1 });
  channel.create({ ...BODY, seed: 2 });
  const second = await network.nextSocket();
  second.accept();
  assert.deepEqual(second.sent.map((frame) => frame.body?.seed ?? frame.type), ["chat.completion.resume", 1, 2]);
});

test("a page that was reloaded reads on with what it has stored", async () => {
  const channel = network.channel();
  const generation = channel.resume({ id: "chatcmpl-1", resumeToken: "secret", startingAfter: 7, text: "seven " });
  await settled();
  network.socket.accept();
  const { stream_id, starting_after } = network.socket.last("chat.completion.resume");
  assert.equal(starting_after, 7);
  network.socket.frame({ type: "chat.completion.resumed", stream_id, first_seq: 8, last_seq: 8 });
  network.socket.chunks(stream_id, 8, 8);
  network.socket.done(stream_id, 8);
  const { chunks } = await drained(generation);
  assert.equal(chunks.length, 1);
  assert.deepEqual([generation.text, generation.seq, generation.id], ["seven 8 ", 8, "chatcmpl-1"]);
});

test("another reader's taking over throws", async () => {
  const { socket, generation, stream } = await running({ resumable: true });
  socket.chunks(stream, 1, 1);
  socket.error(409, "taken_over", { stream_id: stream });
  const { chunks, error } = await drained(generation);
  assert.equal(chunks.length, 1);
  assert.deepEqual([error.code, error.status], ["taken_over", 409]);
});

// -- the sequence -----------------------------------------------------------------------------------------------------

test("a chunk that comes twice is given once, and reported", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 2);
  socket.chunks(stream, 2, 3);
  socket.done(stream, 3);
  await drained(generation);
  assert.equal(generation.text, "1 2 3 ");
  assert.match(network.problems[0].message, /chunk 2 .* twice/);
});

test("a gap in a resumable generation is mended, and what still comes on the old stream is left out", async () => {
  const { socket, generation, stream } = await running({ resumable: true });
  socket.chunks(stream, 1, 1);
  socket.chunks(stream, 3, 4);
  const { stream_id, starting_after } = socket.last("chat.completion.resume");
  assert.equal(starting_after, 1);
  assert.match(network.problems[0].message, /chunks 2 to 2 .* are missing/);
  socket.error(409, "taken_over", { stream_id: stream });
  socket.frame({ type: "chat.completion.resumed", stream_id, first_seq: 2, last_seq: 4 });
  socket.chunks(stream_id, 2, 4);
  socket.done(stream_id, 4);
  const { error } = await drained(generation);
  assert.equal(error, null);
  assert.equal(generation.text, "1 2 3 4 ");
  assert.equal(network.problems.length, 1);
});

test("a gap at the end is seen from the last number", async () => {
  const { socket, generation, stream } = await running({ resumable: true });
  socket.chunks(stream, 1, 1);
  socket.done(stream, 3);
  const { stream_id } = socket.last("chat.completion.resume");
  socket.frame({ type: "chat.completion.resumed", stream_id, first_seq: 2, last_seq: 3 });
  socket.chunks(stream_id, 2, 3);
  socket.done(stream_id, 3);
  await drained(generation);
  assert.equal(generation.text, "1 2 3 ");
});

test("a gap that stays throws", async () => {
  const { socket, generation, stream } = await running({ resumable: true });
  socket.chunks(stream, 2, 2);
  const { stream_id } = socket.last("chat.completion.resume");
  socket.frame({ type: "chat.completion.resumed", stream_id, first_seq: 1, last_seq: 2 });
  socket.chunks(stream_id, 2, 2);
  assert.equal((await drained(generation)).error.code, "chunks_missing");
  assert.equal(socket.last("chat.completion.cancel").stream_id, stream_id);
});

test("a gap in one that is not resumable throws, and ends it at the server", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 2, 2);
  assert.equal((await drained(generation)).error.code, "chunks_missing");
  assert.equal(socket.last("chat.completion.cancel").stream_id, stream);
  socket.chunks(stream, 3, 3);
  socket.done(stream, 3, "cancelled");
  assert.deepEqual(network.problems, []);
});

// -- cancelling -------------------------------------------------------------------------------------------------------

test("a cancel gives what was made, the usage, and no error", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 1);
  generation.cancel();
  generation.cancel();
  assert.equal(socket.count("chat.completion.cancel"), 1);
  socket.chunks(stream, 2, 2);
  socket.done(stream, 2, "cancelled");
  const { chunks, error } = await drained(generation);
  assert.equal(error, null);
  assert.equal(chunks.length, 2);
  assert.equal(generation.status, "cancelled");
  assert.deepEqual(generation.usage, USAGE);
});

test("a cancel that comes too late is no error", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 1);
  generation.cancel();
  const { event_id } = socket.last("chat.completion.cancel");
  socket.done(stream, 1);
  socket.error(404, "stream_not_found", { stream_id: stream, event_id });
  assert.equal((await drained(generation)).error, null);
  assert.equal(generation.status, "completed");
  assert.deepEqual(network.problems, []);
});

test("a signal's abort is a cancel, and nothing stays with the signal afterwards", async () => {
  const aborting = new AbortController();
  const removed = mock.method(aborting.signal, "removeEventListener");
  const { socket, generation, stream } = await running({ signal: aborting.signal });
  aborting.abort();
  assert.equal(socket.last("chat.completion.cancel").stream_id, stream);
  socket.done(stream, 0, "cancelled");
  await drained(generation);
  assert.equal(generation.status, "cancelled");
  assert.equal(removed.mock.callCount(), 1);
});

test("a signal that was aborted before sends nothing", async () => {
  const [channel, socket] = await network.readyChannel();
  const generation = channel.create(BODY, { signal: AbortSignal.abort() });
  assert.deepEqual((await drained(generation)).chunks, []);
  assert.equal(generation.status, "cancelled");
  assert.deepEqual(socket.sent, []);
});

test("a cancel of what still waits to be sent sends nothing", async () => {
  const channel = network.channel();
  const generation = channel.create(BODY);
  generation.cancel();
  await settled();
  network.socket.accept();
  assert.equal((await drained(generation)).error, null);
  assert.deepEqual(network.socket.sent, []);
});

test("a cancel without a connection ends at once for the reader, and at the server when there is one", async () => {
  const { socket, generation, stream } = await running({ resumable: true });
  socket.chunks(stream, 1, 1);
  socket.drop();
  generation.cancel();
  assert.equal((await drained(generation)).chunks.length, 1);
  assert.equal(generation.status, "cancelled");
  const second = await network.nextSocket();
  second.accept();
  const { stream_id } = second.last("chat.completion.resume");
  assert.equal(second.count("chat.completion.cancel"), 0);
  second.frame({ type: "chat.completion.resumed", stream_id, first_seq: 2, last_seq: 2 });
  assert.equal(second.last("chat.completion.cancel").stream_id, stream_id);
  second.chunks(stream_id, 2, 2);
  second.done(stream_id, 2, "cancelled");
  assert.equal(generation.text, "1 ");
  assert.equal(network.lastState[0], "ready");
  assert.deepEqual(network.problems, []);
});

test("a cancel whose answer the cut swallowed ends as cancelled", async () => {
  const { socket, generation } = await running();
  generation.cancel();
  socket.drop();
  assert.equal((await drained(generation)).error, null);
  assert.equal(generation.status, "cancelled");
});

test("a loop that is left early cancels", async () => {
  const { socket, generation, stream } = await running();
  socket.chunks(stream, 1, 3);
  for await (const piece of generation) {
    assert.ok(piece);
    break;
  }
  assert.equal(socket.last("chat.completion.cancel").stream_id, stream);
  socket.chunks(stream, 4, 4);
  assert.equal(generation.waitingChunks, 0);
  assert.deepEqual(await generation.next(), { done: true, value: undefined });
});
