// The React hook of the packed package, in React's test renderer, over sockets that do what the test says.
// Copied beside the package's `node_modules` and run there by test_package.py; FAKES is the address of tests/js/fakes.mjs.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { createElement, StrictMode } from "react";
import { act, create } from "react-test-renderer";
import { Channel } from "twowire-client";
import { useTwowire } from "twowire-client/react";

const { Network, USAGE, settled } = await import(process.env.FAKES);

const QUESTION = { role: "user", content: "Hello" };

const mounted = [];

afterEach(() => { for (const root of mounted.splice(0)) root.unmount(); });

/** Waits until `check` gives something. */
async function until(check) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = check();
    if (found) return found;
    assert.ok(Date.now() < deadline, `never so: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/**
 * A component with the hook, once it is mounted. `chat` is what the hook gave last, `renders` how often it was called;
 * `change` renders it with other options.
 */
async function page(given = {}) {
  const options = { ...given };
  const network = new Network();
  const { WebSocket, fetch } = network;
  const state = { chat: undefined, renders: 0, network };
  function Page() {
    state.chat = useTwowire({ url: "http://server.test:8000", model: "m", WebSocket, fetch, ...options });
    state.renders += 1;
    return null;
  }
  const element = () => createElement(StrictMode, null, createElement(Page));
  const root = create(element());
  mounted.push(root);
  state.change = (more) => {
    Object.assign(options, more);
    // With it, the effects have run as well.
    globalThis.IS_REACT_ACT_ENVIRONMENT = true;
    act(() => root.update(element()));
    globalThis.IS_REACT_ACT_ENVIRONMENT = false;
  };
  state.unmount = () => root.unmount();
  await until(() => state.chat !== undefined);
  await settled();
  return state;
}

/** A socket on which the question was asked, and the stream that is to answer it. */
async function asked(state) {
  const socket = await until(() => state.network.sockets[0]);
  socket.accept();
  const frame = await until(() => socket.last("chat.completion.create"));
  return [socket, frame];
}

/** A page whose answer has begun with two chunks. */
async function streaming(options) {
  const state = await page(options);
  const sent = state.chat.send("Hello");
  const [socket, frame] = await asked(state);
  socket.created(frame.stream_id, { resume_token: "token" });
  socket.chunks(frame.stream_id, 1, 2);
  await until(() => state.chat.text === "1 2 ");
  return { state, sent, socket, frame };
}

/** The socket and the stream on which this page goes on with an answer, and what resolves at its end. */
async function resumed(state, checkpoint) {
  const ended = state.chat.resume(checkpoint);
  const socket = await until(() => state.network.sockets[0]);
  socket.accept();
  const { stream_id, starting_after } = await until(() => socket.last("chat.completion.resume"));
  assert.equal(starting_after, checkpoint.startingAfter);
  socket.frame({ type: "chat.completion.resumed", stream_id });
  return { ended, socket, stream_id };
}

test("an answer streams into the last message, and the status follows it", async () => {
  const state = await page({ body: { temperature: 0 } });
  assert.deepEqual([state.chat.status, state.chat.connection, state.chat.messages], ["ready", "idle", []]);
  const sent = state.chat.send("Hello");
  await until(() => state.chat.status === "submitted");
  assert.deepEqual(state.chat.messages, [QUESTION]);
  const [socket, frame] = await asked(state);
  assert.deepEqual(frame.body, { temperature: 0, model: "m", messages: [QUESTION] });
  assert.deepEqual(frame.resume, { grace_s: 60 });
  socket.created(frame.stream_id);
  socket.chunks(frame.stream_id, 1, 2);
  await until(() => state.chat.text === "1 2 ");
  assert.equal(state.chat.status, "streaming");
  assert.deepEqual(state.chat.messages, [QUESTION, { role: "assistant", content: "1 2 " }]);
  socket.chunks(frame.stream_id, 3, 3);
  socket.done(frame.stream_id, 3);
  await sent;
  await until(() => state.chat.status === "ready");
  assert.deepEqual(state.chat.messages, [QUESTION, { role: "assistant", content: "1 2 3 " }]);
  assert.deepEqual([state.chat.usage, state.chat.error], [USAGE, null]);
  state.chat.send([{ role: "user", content: "More" }]);
  const second = await until(() => socket.count("chat.completion.create") === 2 && socket.last("chat.completion.create"));
  assert.deepEqual(second.body.messages.map(({ content }) => content), ["Hello", "1 2 3 ", "More"]);
});

test("after a lost connection, the answer goes on where it was", async () => {
  const { state, sent, socket } = await streaming();
  socket.drop();
  await until(() => state.chat.connection === "reconnecting");
  assert.equal(state.chat.status, "streaming");
  const next = await until(() => state.network.sockets[1]);
  next.accept();
  const frame = await until(() => next.last("chat.completion.resume"));
  assert.deepEqual([frame.id, frame.resume_token, frame.starting_after], ["chatcmpl-1", "token", 2]);
  next.frame({ type: "chat.completion.resumed", stream_id: frame.stream_id });
  next.chunks(frame.stream_id, 3, 3);
  next.done(frame.stream_id, 3);
  await sent;
  await until(() => state.chat.status === "ready");
  assert.equal(state.chat.text, "1 2 3 ");
  assert.equal(state.chat.messages.length, 2);
});

test("stop ends the answer, and what has come of it stays", async () => {
  const { state, sent, socket, frame } = await streaming();
  await assert.rejects(state.chat.send("Again"), /An answer is running/);
  state.chat.stop();
  assert.equal(socket.last("chat.completion.cancel").stream_id, frame.stream_id);
  socket.done(frame.stream_id, 2, "cancelled");
  await sent;
  await until(() => state.chat.status === "ready");
  assert.deepEqual([state.chat.text, state.chat.finishReason, state.chat.messages.length], ["1 2 ", null, 2]);
});

test("a refusal is an error, and the question can be asked again", async () => {
  const state = await page({ resumeGrace: 0 });
  state.chat.send("Hello");
  const [socket, { stream_id, event_id, resume }] = await asked(state);
  assert.equal(resume, undefined);
  socket.error(429, "rate_limit_exceeded", { stream_id, event_id });
  await until(() => state.chat.status === "error");
  assert.deepEqual([state.chat.error.status, state.chat.messages], [429, [QUESTION]]);
  state.chat.regenerate();
  await until(() => state.chat.status === "submitted");
  assert.equal(state.chat.error, null);
  const again = await until(() => socket.count("chat.completion.create") === 2 && socket.last("chat.completion.create"));
  assert.deepEqual(again.body.messages, [QUESTION]);
});

test("a ticket comes from the application's own route, for each connection anew", async () => {
  const { state, socket } = await streaming({ ticket: "/api/ticket" });
  assert.deepEqual(socket.protocols, ["twowire.v1", "twowire.ticket.abc"]);
  socket.drop();
  await until(() => state.network.sockets[1]);
  const routes = state.network.asked.map(({ url, method, headers }) => [url, method, headers ?? {}]);
  assert.deepEqual(routes, [["/api/ticket", "POST", {}], ["/api/ticket", "POST", {}]]);
});

test("a route that refuses a ticket ends it, and a function may ask for one", async () => {
  const answers = [Response.json({ error: { message: "Sign in.", code: "signed_out" } }, { status: 401 }),
    Response.json({ subprotocol: "twowire.ticket.own" })];
  const state = await page({ ticket: async (signal) => signal && answers.shift() });
  await state.chat.send("Hello");
  await until(() => state.chat.status === "error");
  assert.deepEqual([state.chat.error.message, state.chat.connection], ["Sign in.", "closed"]);
  state.chat.regenerate();
  const [socket] = await asked(state);
  assert.deepEqual(socket.protocols, ["twowire.v1", "twowire.ticket.own"]);
  assert.deepEqual(state.network.asked, []);
});

test("a ticket goes with neither a key nor HTTP, which has none", () => {
  const { WebSocket } = new Network();
  for (const wrong of [{ apiKey: "key" }, { fallback: true }]) {
    assert.throws(() => new Channel({ baseUrl: "http://server.test", ticket: "/api/ticket", WebSocket, ...wrong }), TypeError);
  }
});

test("an unmounted component stops its answer and closes its connection", async () => {
  const { state, sent, socket } = await streaming();
  state.unmount();
  await sent;
  await until(() => socket.closedWith);
  assert.equal(socket.count("chat.completion.cancel"), 1);
  await state.chat.send("Hello");
  assert.equal(state.network.sockets.length, 1);
});

test("an answer is resumed by another page", async () => {
  const first = await streaming();
  const checkpoint = first.state.chat.checkpoint();
  assert.deepEqual(checkpoint, { id: "chatcmpl-1", resumeToken: "token", startingAfter: 2, text: "1 2 ", reasoning: "", toolCalls: [] });
  const second = await page({ messages: [QUESTION] });
  assert.equal(second.chat.checkpoint(), null);
  const { ended, socket, stream_id } = await resumed(second, checkpoint);
  socket.chunks(stream_id, 3, 3);
  socket.done(stream_id, 3);
  await ended;
  await until(() => second.chat.messages.length === 2 && second.chat.status === "ready");
  assert.deepEqual(second.chat.messages, [QUESTION, { role: "assistant", content: "1 2 3 " }]);
});

test("an answer is resumed in the middle of a thought and of a tool call, by its checkpoint as JSON", async () => {
  const first = await streaming();
  first.socket.delta(first.frame.stream_id, 3, { reasoning: "It is " });
  await until(() => first.state.chat.messages.at(-1).reasoning);
  const thinking = JSON.stringify(first.state.chat.checkpoint());
  first.socket.delta(first.frame.stream_id, 4, { reasoning: "noon." });
  const begun = { index: 0, id: "call_1", type: "function", function: { name: "look", arguments: '{"at"' } };
  first.socket.delta(first.frame.stream_id, 5, { tool_calls: [begun] });
  await until(() => first.state.chat.messages.at(-1).tool_calls);
  const calling = first.state.chat.checkpoint();
  const rest = { tool_calls: [{ index: 0, function: { arguments: ": 1}" } }] };
  first.socket.delta(first.frame.stream_id, 6, rest);
  await until(() => first.state.chat.messages.at(-1).tool_calls[0].function.arguments === '{"at": 1}');
  // What came later is not in it.
  assert.deepEqual([calling.startingAfter, calling.toolCalls[0].function.arguments], [5, '{"at"']);

  for (const saved of [thinking, JSON.stringify(calling)]) {
    const checkpoint = JSON.parse(saved);
    const second = await page({ messages: [QUESTION] });
    const { ended, socket, stream_id } = await resumed(second, checkpoint);
    if (checkpoint.startingAfter === 3) {
      socket.delta(stream_id, 4, { reasoning: "noon." });
      socket.delta(stream_id, 5, { tool_calls: [begun] });
    }
    socket.delta(stream_id, 6, rest);
    socket.done(stream_id, 6);
    await ended;
    await until(() => second.chat.messages.length === 2 && second.chat.status === "ready");
    const call = { id: "call_1", type: "function", function: { name: "look", arguments: '{"at": 1}' } };
    const answer = { role: "assistant", content: "1 2 ", reasoning: "It is noon.", tool_calls: [call] };
    assert.deepEqual(second.chat.messages, [QUESTION, answer]);
  }
});

test("a checkpoint of an older version resumes the text", async () => {
  const state = await page({ messages: [QUESTION] });
  const checkpoint = { id: "chatcmpl-1", resumeToken: "token", startingAfter: 2, text: "1 2 " };
  const { ended, socket, stream_id } = await resumed(state, checkpoint);
  socket.chunks(stream_id, 3, 3);
  socket.done(stream_id, 3);
  await ended;
  await until(() => state.chat.messages.length === 2 && state.chat.status === "ready");
  assert.deepEqual(state.chat.messages, [QUESTION, { role: "assistant", content: "1 2 3 " }]);
});

test("another route for tickets holds from the next connection on", async () => {
  const { state, socket } = await streaming({ ticket: "/api/ticket" });
  state.change({ ticket: "/api/other" });
  assert.equal(socket.closedWith, undefined);
  socket.drop();
  await until(() => state.network.sockets[1]);
  assert.deepEqual(state.network.asked.map(({ url }) => url), ["/api/ticket", "/api/other"]);
});

test("another key, or the fallback, ends the answer and opens another connection", async () => {
  for (const change of [{ apiKey: "key" }, { fallback: true }, { ticket: "/api/ticket" }]) {
    const { state, sent, socket } = await streaming();
    state.change(change);
    assert.ok(socket.closedWith);
    await sent;
    await until(() => state.chat.status === "ready" && state.chat.connection === "idle");
    void state.chat.send("Again");
    await until(() => state.network.sockets[1]);
    const ticket = "fallback" in change ? [] : ["twowire.ticket.abc"];
    assert.deepEqual(state.network.sockets[1].protocols, ["twowire.v1", ...ticket]);
  }
});

test("another conversation takes the place of an answer that is running", async () => {
  const { state, sent, socket, frame } = await streaming();
  state.chat.setMessages([]);
  await until(() => state.chat.messages.length === 0);
  assert.equal(socket.count("chat.completion.cancel"), 1);
  socket.done(frame.stream_id, 2, "cancelled");
  await sent;
  await settled();
  assert.deepEqual([state.chat.status, state.chat.text, state.chat.messages], ["ready", "", []]);
});

test("a burst of chunks is not a burst of renders", async () => {
  const { state, sent, socket, frame } = await streaming();
  const before = state.renders;
  socket.chunks(frame.stream_id, 3, 1000);
  socket.done(frame.stream_id, 1000);
  await sent;
  await until(() => state.chat.status === "ready");
  assert.ok(state.chat.text.endsWith(" 1000 "));
  assert.ok(state.renders - before < 100, `${state.renders - before} renders`);
});
