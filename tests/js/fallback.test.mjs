// When the client falls back to HTTP, what it asks for there, and how it comes back to a socket.

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { chunk, drained, Network, settled } from "./fakes.mjs";

const BODY = { model: "m", messages: [] };

/** @type {Network} */
let network;
/** What the server answers over HTTP, by method and path. */
let routes;

beforeEach(() => {
  mock.restoreAll();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  network = new Network();
  routes = {
    "POST /v1/ws/tickets": () => Response.json({ subprotocol: "twowire.ticket.abc" }),
    "GET /health": () => Response.json({ state: "ready" }),
  };
  network.fetch = async (url, init) => {
    const { pathname } = new URL(url);
    const name = `${init.method ?? "GET"} ${pathname}`;
    network.asked.push({ name, url, ...init });
    return routes[name](init);
  };
});

/** A stream that the test writes. */
function events(headers = {}) {
  let controller;
  const body = new ReadableStream({ start: (given) => { controller = given; } });
  const write = (text) => controller.enqueue(new TextEncoder().encode(text));
  const headersOf = { "Twowire-Completion-Id": "chatcmpl-1", "Twowire-Resume-Token": "t", ...headers };
  return {
    write,
    answer: () => new Response(body, { headers: headersOf }),
    chunk: (seq, text, reason = null) => write(`id: ${seq}\ndata: ${JSON.stringify(chunk(text, reason))}\n\n`),
    done: () => { write("data: [DONE]\n\n"); controller.close(); },
    lose: () => controller.error(new Error("reset")),
  };
}

async function blockedChannel(options = {}) {
  const channel = network.channel({ fallback: true, ...options });
  channel.connect().catch(() => {});
  await settled();
  network.socket.drop();
  await network.nextSocket();
  network.socket.drop();
  await network.nextSocket();
  await settled();
  return channel;
}

test("after two failed handshakes it uses HTTP, if the server answers there", async () => {
  const channel = await blockedChannel();
  assert.equal(channel.state, "ready");
  assert.equal(channel.wire, "http");
  assert.equal(network.sockets.length, 2);
});

test("it keeps to sockets unless it is asked to fall back", async () => {
  const channel = await blockedChannel({ fallback: false });
  assert.equal(channel.state, "connecting");
  assert.equal(network.sockets.length, 3);
});

test("a server that is away, or not ready, is no reason to fall back", async () => {
  routes["POST /v1/ws/tickets"] = () => { throw new Error("refused"); };
  let channel = await blockedChannel();
  assert.equal(channel.state, "connecting");
  assert.equal(channel.wire, "websocket");
  network = Object.assign(network, { sockets: [], states: [] });
  routes["POST /v1/ws/tickets"] = () => Response.json({ subprotocol: "twowire.ticket.abc" });
  routes["GET /health"] = () => Response.json({ state: "starting" }, { status: 503 });
  channel = await blockedChannel();
  assert.equal(channel.state, "connecting");
  await network.nextSocket();
  network.socket.accept();
  assert.equal(channel.state, "ready");
  assert.equal(channel.wire, "websocket");
});

test("a generation is asked for, read, cut, resumed and finished over HTTP", async () => {
  const channel = await blockedChannel({ apiKey: "key-1" });
  const first = events();
  routes["POST /v1/chat/completions"] = first.answer;
  const generation = channel.create(BODY, { resumeGrace: 30 });
  const reading = drained(generation);
  await generation.created;
  assert.deepEqual([generation.id, generation.resumeToken], ["chatcmpl-1", "t"]);
  const asked = network.asked.at(-1);
  assert.deepEqual(JSON.parse(asked.body), { ...BODY, stream: true, stream_options: { include_usage: true } });
  assert.equal(asked.headers.get("Twowire-Resume-Grace"), "30");
  assert.equal(asked.headers.get("Authorization"), "Bearer key-1");
  // In two parts, cut anywhere, with a comment between.
  const text = `id: 1\ndata: ${JSON.stringify(chunk("1 "))}\n\n`;
  first.write(`: keep-alive\n\n${text.slice(0, 20)}`);
  first.write(text.slice(20));
  await settled();
  first.lose();
  await settled();
  assert.equal(channel.state, "reconnecting");

  const second = events();
  routes["GET /v1/chat/completions/chatcmpl-1/stream"] = second.answer;
  mock.timers.tick(network.lastState[1].retryInMs);
  await settled();
  await settled();
  const { url, headers } = network.asked.at(-1);
  assert.equal(new URL(url).searchParams.get("starting_after"), "1");
  assert.equal(headers.get("Twowire-Resume-Token"), "t");
  second.chunk(2, "2", "stop");
  second.done();
  const { error } = await reading;
  assert.equal(error, null);
  assert.equal(generation.text, "1 2");
  assert.equal(generation.status, "completed");
  assert.equal(network.sockets.length, 2);
});

test("a generation is cancelled by its id", async () => {
  const channel = await blockedChannel();
  const stream = events();
  routes["POST /v1/chat/completions"] = stream.answer;
  routes["DELETE /v1/chat/completions/chatcmpl-1"] = () => Response.json({ deleted: true });
  const generation = channel.create(BODY, { resumeGrace: 30 });
  generation.cancel();
  await settled();
  assert.equal(network.asked.at(-1).name, "DELETE /v1/chat/completions/chatcmpl-1");
  stream.chunk(1, "1");
  stream.done();
  await drained(generation);
  assert.equal(generation.status, "cancelled");
});

test("a refusal is the generation's, and a wrong key ends the channel", async () => {
  const channel = await blockedChannel();
  const refusal = (status, code) => () => Response.json({ error: { message: "no", code } }, { status });
  routes["POST /v1/chat/completions"] = refusal(400, "invalid_value");
  const { error } = await drained(channel.create(BODY));
  assert.deepEqual([error.code, error.status], ["invalid_value", 400]);
  assert.equal(channel.state, "ready");
  routes["POST /v1/chat/completions"] = refusal(401, "invalid_api_key");
  assert.equal((await drained(channel.create(BODY))).error.code, "invalid_api_key");
  assert.equal(channel.state, "closed");
});

test("no more than four requests run at a time", async () => {
  const channel = await blockedChannel();
  const streams = [1, 2, 3, 4, 5].map((number) => events({ "Twowire-Completion-Id": `chatcmpl-${number}` }));
  const answers = streams.map(({ answer }) => answer);
  routes["POST /v1/chat/completions"] = () => answers.shift()();
  const generations = streams.map(() => channel.create(BODY, { resumeGrace: 30 }));
  await settled();
  assert.equal(answers.length, 1);
  generations[4].cancel();
  await drained(generations[4]);
  assert.equal(generations[4].status, "cancelled");
  channel.create(BODY, { resumeGrace: 30 });
  streams[0].done();
  await drained(generations[0]);
  await settled();
  assert.equal(answers.length, 0);
});

test("it moves to a socket once one opens, and resumes there", async () => {
  const channel = await blockedChannel();
  const stream = events();
  routes["POST /v1/chat/completions"] = stream.answer;
  const generation = channel.create(BODY, { resumeGrace: 30 });
  await generation.created;
  stream.chunk(1, "1");
  await settled();
  mock.timers.tick(15_000);
  await settled();
  assert.equal(network.sockets.length, 3);
  network.socket.accept();
  assert.equal(channel.wire, "websocket");
  assert.equal(network.socket.last("chat.completion.resume").starting_after, 1);
});

test("a generation that cannot be resumed is not moved", async () => {
  const channel = await blockedChannel();
  routes["POST /v1/chat/completions"] = () => new Response(new ReadableStream());
  const generation = channel.create(BODY);
  await generation.created;
  mock.timers.tick(15_000);
  await settled();
  network.socket.accept();
  assert.equal(channel.wire, "http");
  assert.equal(network.socket.closedWith.code, 1000);
});

test("a follower reads with its own token, and its cancel does not end the generation", async () => {
  const channel = await blockedChannel();
  const stream = events();
  routes["GET /v1/chat/completions/chatcmpl-1/stream"] = stream.answer;
  const generation = channel.follow({ id: "chatcmpl-1", followToken: "f" });
  await generation.created;
  assert.equal(network.asked.at(-1).headers.get("Twowire-Follow-Token"), "f");
  stream.chunk(1, "1");
  await generation.next();
  assert.equal(generation.text, "1");
  const { signal } = network.asked.at(-1);
  signal.addEventListener("abort", () => stream.lose());
  generation.cancel();
  await drained(generation);
  assert.equal(generation.status, "cancelled");
  assert.ok(!network.asked.some(({ name }) => name.startsWith("DELETE")));
  assert.equal(channel.state, "resumed");
});

test("on a socket, a follower follows again after a lost connection", async () => {
  const [channel, socket] = await network.readyChannel();
  const generation = channel.follow({ id: "chatcmpl-1", followToken: "f", startingAfter: 2, text: "1 2 " });
  const { stream_id, ...first } = socket.last("chat.completion.follow");
  assert.deepEqual([first.id, first.follow_token, first.starting_after], ["chatcmpl-1", "f", 2]);
  socket.frame({ type: "chat.completion.resumed", stream_id, first_seq: 3, last_seq: 3 });
  socket.chunks(stream_id, 3, 3);
  await generation.next();
  const again = await network.reconnected();
  assert.equal(again.last("chat.completion.follow").starting_after, 3);
  assert.equal(generation.text, "1 2 3 ");
  assert.equal(generation.resumeToken, null);
});

test("a generation that can be followed says with which token", async () => {
  const [channel, socket] = await network.readyChannel();
  const generation = channel.create(BODY, { resumeGrace: 30 });
  socket.created("s1", { resume_token: "t", follow_token: "f" });
  await generation.created;
  assert.deepEqual([generation.resumeToken, generation.followToken], ["t", "f"]);
});
