// How the client connects, keeps its connection, and comes back; and what it says of that.

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Channel, ChannelError } from "../../static/channel.js";
import { drained, Network, settled } from "./fakes.mjs";

const BODY = { model: "m", messages: [] };

/** @type {Network} */
let network;

beforeEach(() => {
  mock.restoreAll();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  network = new Network();
});

function refusal(status, code, headers = {}) {
  return { status, headers, body: { error: { message: `no: ${code}`, code } } };
}

test("without a key it offers the protocol alone, and asks for no ticket", async () => {
  await network.readyChannel();
  assert.equal(network.socket.url, "ws://server.test:8000/v1/chat/completions");
  assert.deepEqual(network.socket.protocols, ["twowire.v1"]);
  assert.deepEqual(network.asked, []);
  assert.deepEqual(network.stateNames, ["connecting", "ready"]);
});

test("with a key it exchanges it for a ticket, for each connection anew, and puts neither into the URL", async () => {
  await network.readyChannel({ apiKey: "key-1" });
  await network.reconnected();
  assert.equal(network.asked.length, 2);
  const { url, method, headers } = network.asked[0];
  assert.deepEqual([url, method], ["http://server.test:8000/v1/ws/tickets", "POST"]);
  assert.deepEqual(headers, { Authorization: "Bearer key-1" });
  for (const socket of network.sockets) {
    assert.deepEqual(socket.protocols, ["twowire.v1", "twowire.ticket.abc"]);
    assert.equal(socket.url, "ws://server.test:8000/v1/chat/completions");
  }
});

for (const [given, url] of [
  ["http://a.test", "ws://a.test/v1/chat/completions"],
  ["https://a.test/v1/", "wss://a.test/v1/chat/completions"],
  ["https://a.test/below/", "wss://a.test/below/v1/chat/completions"],
]) {
  test(`the address ${given} is understood`, async () => {
    network.channel({ baseUrl: given }).create(BODY);
    await settled();
    assert.equal(network.socket.url, url);
  });
}

test("without an address or a WebSocket it says what is missing", () => {
  assert.throws(() => new Channel({ WebSocket: network.WebSocket }), /baseUrl/);
  if (globalThis.WebSocket === undefined) assert.throws(() => new Channel({ baseUrl: "http://a.test" }), /WebSocket/);
});

test("an address that no socket can have closes the channel with the reason", async () => {
  class Refusing { constructor() { throw new SyntaxError("mixed content"); } }
  const channel = network.channel({ WebSocket: Refusing });
  await assert.rejects(channel.connect(), /mixed content/);
  assert.equal(channel.state, "closed");
});

test("a wrong key closes the channel, and everything that waits for it fails with that", async () => {
  network.answers = [refusal(401, "invalid_api_key")];
  const channel = network.channel({ apiKey: "wrong" });
  const generation = channel.create(BODY);
  await assert.rejects(channel.connect(), { name: "ChannelError", code: "invalid_api_key", status: 401 });
  assert.equal((await drained(generation)).error.code, "invalid_api_key");
  assert.deepEqual(network.stateNames, ["connecting", "closed"]);
  assert.deepEqual(network.sockets, []);
  mock.timers.tick(600_000);
  await settled();
  assert.equal(network.asked.length, 1);
});

test("a server that is full is asked again after as long as it says", async () => {
  network.answers = [refusal(503, "too_many_connections", { "Retry-After": "7" }), network.answers[0]];
  network.channel({ apiKey: "key-1" }).create(BODY);
  await settled();
  const [state, { retryInMs, reason, attempt }] = network.lastState;
  assert.deepEqual([state, reason, attempt], ["connecting", "no: too_many_connections", 1]);
  assert.ok(retryInMs >= 7000 + 2500 && retryInMs <= 7000 + 5000, String(retryInMs));
  await network.nextSocket();
  network.socket.accept();
  assert.equal(network.socket.count("chat.completion.create"), 1);
});

test("a server that cannot be reached for the ticket is tried again", async () => {
  network.answers = [new TypeError("fetch failed"), network.answers[0]];
  const connected = network.channel({ apiKey: "key-1" }).connect();
  await settled();
  assert.match(network.lastState[1].reason, /cannot be reached/);
  (await network.nextSocket()).accept();
  await connected;
});

test("a handshake that fails without a key is followed by a question why", async () => {
  network.answers = [refusal(401, "invalid_api_key")];
  const connected = network.channel().connect();
  await settled();
  network.socket.drop(1006);
  assert.deepEqual(network.lastState[1].reason, "the handshake failed (1006)");
  mock.timers.tick(network.lastState[1].retryInMs);
  await assert.rejects(connected, { code: "invalid_api_key" });
  assert.deepEqual(network.asked[0].headers, {});
  assert.equal(network.sockets.length, 1);
});

test("a server that does not answer is given up after a while, and tried again", async () => {
  network.channel().create(BODY);
  await settled();
  mock.timers.tick(15_000);
  assert.equal(network.socket.closedWith.code, 1000);
  assert.match(network.lastState[1].reason, /no answer/);
  (await network.nextSocket()).accept();
  assert.equal(network.lastState[0], "ready");
});

// -- the end of a connection ------------------------------------------------------------------------------------------

for (const code of [1000, 1001, 1006, 1011, 1012, 4408]) {
  test(`it comes back soon after ${code}`, async () => {
    await network.readyChannel();
    network.socket.drop(code, "said so");
    const [state, detail] = network.lastState;
    assert.deepEqual([state, detail.code, detail.reason], ["reconnecting", code, "said so"]);
    assert.ok(detail.retryInMs >= 250 && detail.retryInMs <= 500, String(detail.retryInMs));
    (await network.nextSocket()).accept();
    assert.equal(network.lastState[0], "ready");
  });
}

test("it comes back slowly after 1013", async () => {
  await network.readyChannel();
  network.socket.drop(1013);
  const { retryInMs } = network.lastState[1];
  assert.ok(retryInMs >= 2500 && retryInMs <= 5000, String(retryInMs));
});

for (const [code, name] of [[1002, "protocol_error"], [1008, "protocol_error"], [4401, "invalid_api_key"], [4409, "taken_over"], [4450, "connection_lost"]]) {
  test(`it does not come back after ${code}`, async () => {
    const [channel, socket] = await network.readyChannel();
    const generation = channel.create(BODY, { resumeGrace: 30 });
    socket.created(socket.last("chat.completion.create").stream_id, { resume_token: "secret" });
    socket.drop(code);
    assert.deepEqual([network.lastState[0], network.lastState[1].code], ["closed", code]);
    assert.equal((await drained(generation)).error.code, name);
    mock.timers.tick(600_000);
    await settled();
    assert.equal(network.sockets.length, 1);
    assert.throws(() => channel.create(BODY), { code: "channel_closed" });
    await assert.rejects(channel.connect(), { code: name });
  });
}

test("the waits grow, are jittered, and have a bound", async () => {
  await network.readyChannel();
  const grown = [];
  mock.method(Math, "random", () => 1);
  for (let failed = 0; failed < 9; failed += 1) {
    network.socket.drop(1006);
    grown.push(network.lastState[1].retryInMs);
    (await network.nextSocket()).accept();
  }
  assert.deepEqual(grown, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  mock.method(Math, "random", () => 0);
  network.socket.drop(1006);
  assert.equal(network.lastState[1].retryInMs, 15000);
});

test("a connection that stood for some seconds begins the waits anew", async () => {
  mock.method(Math, "random", () => 1);
  await network.readyChannel();
  await network.reconnected();
  mock.timers.tick(5000);
  network.socket.drop(1006);
  assert.deepEqual([network.lastState[1].retryInMs, network.lastState[1].attempt], [500, 1]);
});

test("a frame that is no JSON object ends the connection, with the reason", async () => {
  for (const message of ["{", "7", "null", new ArrayBuffer(4)]) {
    network = new Network();
    await network.readyChannel();
    network.socket.message(message);
    assert.equal(network.socket.closedWith.code, 4400);
    assert.deepEqual([network.lastState[0], network.lastState[1].error.code], ["reconnecting", "protocol_error"]);
  }
});

test("an error that is nobody's is reported", async () => {
  await network.readyChannel();
  network.socket.error(408, "connection_too_old");
  assert.equal(network.problems[0].code, "connection_too_old");
  assert.ok(network.problems[0] instanceof ChannelError);
});

test("close ends the socket, the generations and the waiting, and is final", async () => {
  const [channel, socket] = await network.readyChannel();
  const generation = channel.create(BODY);
  channel.close();
  channel.close();
  assert.deepEqual(socket.closedWith, { code: 1000, reason: "the client is done" });
  assert.equal((await drained(generation)).error.code, "channel_closed");
  assert.deepEqual(network.stateNames, ["connecting", "ready", "closed"]);
  assert.throws(() => channel.create(BODY), { code: "channel_closed" });
  socket.drop(1000);
  mock.timers.tick(600_000);
  await settled();
  assert.equal(network.sockets.length, 1);
});

test("close while it connects or waits leaves nothing behind", async () => {
  const first = network.channel();
  const connected = first.connect();
  first.close();
  await assert.rejects(connected, { code: "channel_closed" });
  const [second] = await network.readyChannel();
  network.socket.drop();
  second.close();
  mock.timers.tick(600_000);
  await settled();
  assert.equal(network.sockets.length, 2);
});

// -- heartbeats -------------------------------------------------------------------------------------------------------

test("a ping is answered with its own t", async () => {
  const [, socket] = await network.readyChannel();
  socket.frame({ type: "ping", t: 12.5 });
  assert.deepEqual(socket.sent, [{ type: "pong", t: 12.5 }]);
});

test("a silent server is asked, then given up; its socket is not waited for", async () => {
  const [, socket] = await network.readyChannel();
  mock.timers.tick(34_999);
  assert.deepEqual(socket.sent, []);
  mock.timers.tick(1);
  assert.deepEqual(socket.sent, [{ type: "ping" }]);
  mock.timers.tick(14_999);
  assert.equal(network.lastState[0], "ready");
  mock.timers.tick(1);
  assert.deepEqual([network.lastState[0], network.lastState[1].reason], ["reconnecting", "the server is silent"]);
  assert.equal(socket.closedWith.code, 4408);
  socket.frame({ type: "chat.completion.done", stream_id: "late" });
  assert.deepEqual(network.problems, []);
});

test("anything that comes is a sign of life", async () => {
  const [, socket] = await network.readyChannel();
  for (let round = 0; round < 10; round += 1) {
    mock.timers.tick(29_000);
    socket.frame({ type: "ping", t: round });
  }
  assert.equal(network.lastState[0], "ready");
  assert.equal(socket.count("ping"), 0);
  mock.timers.tick(35_000);
  socket.frame({ type: "pong" });
  mock.timers.tick(20_000);
  assert.equal(network.lastState[0], "ready");
});

test("a page that is online or seen again asks at once", async (t) => {
  const page = new EventTarget();
  const had = [globalThis.addEventListener, globalThis.document];
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  t.after(() => { [globalThis.addEventListener, globalThis.document] = had; });
  const [channel, socket] = await network.readyChannel();
  globalThis.document.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(socket.sent, [{ type: "ping" }]);
  mock.timers.tick(15_000);
  assert.equal(network.lastState[0], "reconnecting");
  page.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(network.sockets.length, 2);
  mock.timers.tick(network.lastState[1].retryInMs);
  await settled();
  assert.equal(network.sockets.length, 2);
  channel.close();
  page.dispatchEvent(new Event("online"));
  assert.equal(network.sockets.length, 2);
});

test("what the caller's onState throws harms nothing and is not swallowed", async () => {
  const thrown = [];
  mock.method(globalThis, "queueMicrotask", (work) => thrown.push(work));
  const [channel] = await network.readyChannel({ onState: () => { throw new Error("the caller's own"); } });
  assert.equal(channel.state, "ready");
  assert.throws(thrown[0], /the caller's own/);
});

test("it watches the server's load on each connection, as long as somebody listens", async () => {
  const [channel, socket] = await network.readyChannel();
  const loads = [];
  const stop = channel.watchLoad((load) => loads.push(load));
  const stopToo = channel.watchLoad(() => {});
  const kinds = (one) => one.sent.map(({ type }) => type).filter((type) => type.startsWith("server."));
  assert.deepEqual(kinds(socket), ["server.stats.subscribe"]);
  socket.frame({ type: "server.stats", running: 1, streams: [] });
  assert.deepEqual(loads.map(({ running }) => running), [1]);
  const again = await network.reconnected();
  assert.deepEqual(kinds(again), ["server.stats.subscribe"]);
  stop();
  stopToo();
  assert.deepEqual(kinds(again), ["server.stats.subscribe", "server.stats.unsubscribe"]);
  again.frame({ type: "server.stats", running: 2, streams: [] });
  assert.equal(loads.length, 1);
});

test("a server that does not show its load is no problem of the channel", async () => {
  const [channel, socket] = await network.readyChannel();
  const loads = [];
  channel.watchLoad((load) => loads.push(load));
  const [{ event_id }] = socket.sent.filter(({ type }) => type === "server.stats.subscribe");
  socket.frame({ type: "error", event_id, status: 403, error: { message: "no", code: "forbidden_stats" } });
  assert.deepEqual(loads, [null]);
  assert.deepEqual(network.problems, []);
});

test("a prompt is read ahead where the server offers it, and only the newest call is answered", async () => {
  const [channel] = await network.readyChannel();
  assert.equal(await channel.prefill(BODY), null, "the server does not offer it");
  assert.equal(network.socket.count("chat.completion.prefill"), 0);
  channel.limits.max_prefills = 1;
  const [first, second] = [channel.prefill(BODY), channel.prefill({ ...BODY, messages: [1] })];
  assert.equal(await first, null);
  const { event_id, body } = network.socket.last("chat.completion.prefill");
  assert.deepEqual(body.messages, [1]);
  const type = "chat.completion.prefilled";
  network.socket.frame({ type, event_id: "prefill-1", status: "cancelled", usage: {} });
  network.socket.frame({ type, event_id, status: "completed", usage: { prompt_tokens: 3 } });
  assert.equal((await second).usage.prompt_tokens, 3);
  const refused = channel.prefill(BODY);
  const error = { message: "no", code: "queue_full" };
  network.socket.frame({ type: "error", event_id: "prefill-3", status: 503, error });
  assert.equal(await refused, null);
  const lost = channel.prefill(BODY);
  network.socket.drop();
  assert.equal(await lost, null);
});
