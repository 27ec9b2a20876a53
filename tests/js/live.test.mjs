// The client against a real server. CHANNEL_URL is its address; CHANNEL_KEY_URL and CHANNEL_KEY are a second one's that
// asks for a key (any model). What has no address is skipped, and says so.

import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";

import { Channel } from "../../static/channel.js";

const { CHANNEL_URL, CHANNEL_KEY_URL, CHANNEL_KEY } = process.env;
const skip = CHANNEL_URL ? false : "CHANNEL_URL names no server";
const skipKey = CHANNEL_KEY_URL && CHANNEL_KEY ? false : "CHANNEL_KEY_URL and CHANNEL_KEY name no server";
const LIMIT_MS = 60_000;

let model = "";
/** @type {Channel[]} */
const channels = [];

before(async () => {
  if (skip) return;
  const models = await (await fetch(`${CHANNEL_URL}/v1/models`)).json();
  model = models.data[0].id;
  LONG.model = model;
});

after(() => { for (const channel of channels) channel.close(); });

function open(options) {
  const states = [];
  const problems = [];
  const onState = (state, detail) => states.push([state, detail]);
  const channel = new Channel({ onState, onProblem: (problem) => problems.push(problem), ...options });
  channels.push(channel);
  return { channel, states, problems };
}

function ask(question, more = {}) {
  return { model, messages: [{ role: "user", content: question }], temperature: 0, seed: 7, max_tokens: 200, ...more };
}

/** Runs for some seconds. */
const LONG = { messages: [{ role: "user", content: "Tell me all." }], max_tokens: 1500, ignore_eos: true };

async function textOf(generation) {
  for await (const chunk of generation) assert.equal(chunk.object, "chat.completion.chunk");
  return generation.text;
}

/**
 * A proxy to the server that cuts connections as a network does, without a word: the first after as many bytes from the
 * server as `cutAfter` says first, and so on; those for which it says nothing it leaves alone. Bytes, because a machine
 * that is busy lets a whole answer come at once.
 */
class CuttingProxy {
  #sockets = new Set();
  #server = net.createServer((near) => this.#join(near));
  #to;
  url = "";

  constructor(to, cutAfter = []) {
    this.#to = new URL(to);
    this.cutAfter = [...cutAfter];
  }

  async start() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  #join(near) {
    const far = net.connect(Number(this.#to.port), this.#to.hostname);
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    }
    near.pipe(far);
    let left = this.cutAfter.shift() ?? Number.POSITIVE_INFINITY;
    far.on("data", (bytes) => {
      const passed = bytes.subarray(0, left);
      left -= passed.length;
      near.write(passed, () => { if (left === 0) this.cut(near, far); });
    });
    far.on("end", () => near.end());
  }

  cut(...sockets) {
    for (const socket of sockets.length > 0 ? sockets : this.#sockets) socket.destroy();
  }

  stop() {
    this.cut();
    this.#server.close();
  }
}

/**
 * Try what a busy machine may be too late for, a few times; `attempt` says whether it was in time. Meanwhile the engine
 * has more to do, so that a generation takes long.
 */
async function inTime(attempt) {
  const { channel } = open({ baseUrl: CHANNEL_URL });
  for (let times = 0; times < 8; times += 1) {
    const others = Array.from({ length: 12 }, () => channel.create(LONG));
    try {
      if (await attempt()) return;
    } finally {
      for (const other of others) other.cancel();
      await Promise.all(others.map(textOf));
    }
  }
  assert.fail("eight times, the server had ended the generation before it could be told");
}

test("an answer is streamed, with its usage, and its seq is its count", { skip, timeout: LIMIT_MS }, async () => {
  const { channel, states, problems } = open({ baseUrl: CHANNEL_URL });
  const generation = channel.create(ask("Tell me."));
  let count = 0;
  for await (const chunk of generation) {
    count += 1;
    assert.equal(generation.seq, count);
    assert.equal(chunk.id, generation.id);
  }
  assert.ok(generation.text.length > 0);
  assert.equal(generation.status, "completed");
  assert.ok(generation.usage.completion_tokens > 0);
  assert.ok(["stop", "length"].includes(generation.finishReason));
  assert.deepEqual(states.map(([state]) => state), ["connecting", "ready"]);
  assert.deepEqual(problems, []);
  channel.close();
  assert.equal(channel.state, "closed");
});

test("a cancel ends it, with the usage so far, and the socket serves on", { skip, timeout: LIMIT_MS }, async () => {
  const { channel, problems } = open({ baseUrl: `${CHANNEL_URL}/v1` });
  await channel.connect();
  await inTime(async () => {
    const aborting = new AbortController();
    const generation = channel.create(LONG, { signal: aborting.signal });
    for await (const chunk of generation) {
      assert.ok(chunk);
      if (generation.seq === 2) aborting.abort();
    }
    if (generation.status === "completed") return false;
    assert.equal(generation.status, "cancelled");
    assert.ok(generation.usage.completion_tokens > 0);
    assert.ok(generation.usage.completion_tokens < LONG.max_tokens);
    return true;
  });
  assert.ok((await textOf(channel.create(ask("Tell me.", { max_tokens: 8 })))).length > 0);
  assert.deepEqual(problems, []);
});

test("what the server refuses is thrown, with the field at fault", { skip, timeout: LIMIT_MS }, async () => {
  const { channel } = open({ baseUrl: CHANNEL_URL });
  await assert.rejects(textOf(channel.create({ model })), { status: 400, param: "messages" });
  const unknown = channel.create(ask("?", { model: "none-such" }));
  await assert.rejects(textOf(unknown), { status: 404, code: "model_not_found" });
  assert.equal(channel.state, "ready");
});

test("eight side by side give what each gives alone", { skip, timeout: LIMIT_MS }, async () => {
  const { channel, problems } = open({ baseUrl: CHANNEL_URL });
  const questions = Array.from({ length: 8 }, (_, number) => ask(`Say ${number}.`, { max_tokens: 48 }));
  const alone = [];
  for (const body of questions) alone.push(await textOf(channel.create(body)));
  const together = await Promise.all(questions.map((body) => textOf(channel.create(body))));
  assert.deepEqual(together, alone);
  assert.deepEqual(problems, []);
});

test("more than the connection may have are refused one by one", { skip, timeout: LIMIT_MS }, async () => {
  const { channel } = open({ baseUrl: CHANNEL_URL });
  await channel.connect();
  const most = channel.limits.max_running + channel.limits.max_waiting;
  const generations = Array.from({ length: most + 3 }, () => channel.create(LONG));
  // The last ones are answered while all others still run or wait.
  for (const refused of generations.slice(most)) {
    await assert.rejects(textOf(refused), { status: 429, code: "too_many_streams" });
  }
  for (const generation of generations) generation.cancel();
  await Promise.all(generations.slice(0, most).map(textOf));
});

test("a socket cut three times in mid-answer loses nothing of three answers", { skip, timeout: LIMIT_MS }, async () => {
  const more = { max_tokens: 300, ignore_eos: true };
  const bodies = ["Count.", "Tell me.", "Go on."].map((question) => ask(question, more));
  const direct = open({ baseUrl: CHANNEL_URL });
  const uncut = await Promise.all(bodies.map((body) => textOf(direct.channel.create(body))));
  direct.channel.close();

  const proxy = await new CuttingProxy(CHANNEL_URL, [6000, 9000, 20_000]).start();
  const { channel, states, problems } = open({ baseUrl: proxy.url });
  try {
    const generations = bodies.map((body) => channel.create(body, { resumeGrace: 30 }));
    const others = generations.slice(1).map(textOf);
    const [first] = generations;
    const seqs = [];
    for await (const chunk of first) {
      assert.ok(chunk);
      seqs.push(first.seq);
    }
    assert.deepEqual([first.text, ...await Promise.all(others)], uncut);
    assert.deepEqual(seqs, seqs.map((_, index) => index + 1));
    assert.equal(states.filter(([state]) => state === "reconnecting").length, 3);
    assert.equal(states.at(-1)[0], "resumed");
    for (const generation of generations) assert.equal(generation.status, "completed");
    assert.deepEqual(problems, []);
  } finally {
    channel.close();
    proxy.stop();
  }
});

test("a page that was reloaded goes on where it was, on another channel", { skip, timeout: LIMIT_MS }, async () => {
  const body = ask("Tell me.", { max_tokens: 300, ignore_eos: true });
  const before = open({ baseUrl: CHANNEL_URL });
  const uncut = await textOf(before.channel.create(body));
  const generation = before.channel.create(body, { resumeGrace: 30 });
  while (generation.seq < 10) await generation.next();
  const { id, resumeToken, seq, text } = generation;
  before.channel.close();
  await assert.rejects(async () => { while (!(await generation.next()).done); }, { code: "channel_closed" });

  const { channel, problems } = open({ baseUrl: CHANNEL_URL });
  const resumed = channel.resume({ id, resumeToken, startingAfter: seq, text });
  assert.equal(await textOf(resumed), uncut);
  assert.equal(resumed.status, "completed");
  const wrong = channel.resume({ id, resumeToken: "wrong", startingAfter: seq });
  await assert.rejects(textOf(wrong), { status: 404, code: "completion_not_found" });
  assert.deepEqual(problems, []);
});

test("another reader takes over, and the first is told", { skip, timeout: LIMIT_MS }, async () => {
  const two = open({ baseUrl: CHANNEL_URL });
  await two.channel.connect();
  await inTime(async () => {
    // Its only stream taken, the server closes the first's connection, which is then at its end.
    const one = open({ baseUrl: CHANNEL_URL });
    const first = one.channel.create(LONG, { resumeGrace: 30 });
    await first.created;
    const second = two.channel.resume({ id: first.id, resumeToken: first.resumeToken });
    await second.created;
    second.cancel();
    const end = await textOf(first).catch((error) => error);
    await textOf(second);
    if (first.status === "completed") return false;
    assert.deepEqual([end.code, end.status], ["taken_over", 409]);
    assert.ok(second.text.startsWith(first.text));
    return true;
  });
});

test("one that cannot be resumed throws when the socket is cut", { skip, timeout: LIMIT_MS }, async () => {
  const proxy = await new CuttingProxy(CHANNEL_URL, [5000]).start();
  const { channel } = open({ baseUrl: proxy.url });
  try {
    const generation = channel.create(LONG);
    await assert.rejects(textOf(generation), { code: "connection_lost", closeCode: 1006 });
    assert.ok(generation.seq > 0);
    await channel.connect();
    assert.ok((await textOf(channel.create(ask("Tell me.", { max_tokens: 8 })))).length > 0);
  } finally {
    channel.close();
    proxy.stop();
  }
});

test("a key is exchanged for a ticket, anew for each connection", { skip: skipKey, timeout: LIMIT_MS }, async () => {
  const proxy = await new CuttingProxy(CHANNEL_KEY_URL).start();
  const { channel, states } = open({ baseUrl: proxy.url, apiKey: CHANNEL_KEY });
  try {
    await channel.connect();
    proxy.cut();
    while (states.at(-1)[0] !== "reconnecting") await new Promise((resolve) => setImmediate(resolve));
    await channel.connect();
    assert.deepEqual(states.map(([state]) => state), ["connecting", "ready", "reconnecting", "ready"]);
    await assert.rejects(textOf(channel.create({ model: "none-such", messages: [{ role: "user", content: "Hi" }] })), {
      code: "model_not_found",
    });
  } finally {
    channel.close();
    proxy.stop();
  }
});

for (const [name, apiKey] of [["a wrong key", "wrong-key-0123456789"], ["no key"]]) {
  test(`${name} closes the channel with the server's reason`, { skip: skipKey, timeout: LIMIT_MS }, async () => {
    const { channel, states } = open({ baseUrl: CHANNEL_KEY_URL, apiKey });
    await assert.rejects(channel.connect(), { code: "invalid_api_key", status: 401 });
    assert.equal(states.at(-1)[0], "closed");
  });
}
