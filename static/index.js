// The start page: shows the engine's state while it changes, the models, and first calls with this server's address.
// Does not know how to chat.

import { copyText, element } from "./dom.js";

const POLL_MS = 2000;
const POLL_READY_MS = 15000;
const TIMEOUT_MS = 5000;

// Tones are colours in style.css. A state that is not listed is shown as it came.
const STATES = {
  starting: ["Starting", "busy"],
  ready: ["Ready", "good"],
  restarting: ["Restarting", "busy"],
  draining: ["Shutting down", "busy"],
  failed: ["Failed", "bad"],
  stopped: ["Stopped", "bad"],
};

const byId = (id) => document.getElementById(id);
const base = `${location.origin}/v1`;
let listed = false;

function get(path) {
  return fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
}

// -- the engine -------------------------------------------------------------------------------------------------------

async function readHealth() {
  try {
    const answer = await get("/health");
    const health = await answer.json();
    if (typeof health.state === "string") return health;
    return { state: "unclear", reason: health.error?.message ?? `/health answered ${answer.status}.` };
  } catch {
    return { state: "no answer", reason: "The server cannot be reached; this page keeps trying." };
  }
}

function showHealth(health) {
  const [label, tone] = STATES[health.state] ?? [capitalised(health.state), "bad"];
  const reason = health.reason && health.reason !== health.state ? health.reason : "";
  setText("state", label);
  setText("reason", capitalised(reason));
  byId("engine").dataset.tone = tone;
  // Both times are the server's own, so a wrong clock here does not matter.
  setText("since", health.since ? `for ${duration(health.timestamp - health.since)}` : "");
  document.title = tone === "good" ? "twowire" : `${label} · twowire`;
}

// The line is announced by screen readers when it changes, so it is written only when it does.
function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

async function watch() {
  let wait = POLL_READY_MS;
  // A page in the background asks nothing; `visibilitychange` below starts it again.
  if (!document.hidden) {
    const health = await readHealth();
    showHealth(health);
    if (!listed && health.state !== "no answer") await showModels();
    if (health.state !== "ready") wait = POLL_MS;
  }
  clearTimeout(watch.timer);
  watch.timer = setTimeout(watch, wait);
}

// -- the models and the calls -----------------------------------------------------------------------------------------

async function showModels() {
  let rows;
  try {
    const answer = await get("/v1/models");
    const body = await answer.json();
    if (answer.status === 401) {
      rows = [element("li", {}, "This server asks for an API key, so its models are not shown here. With a key, ",
        element("code", {}, "GET /v1/models"), " lists them.")];
      setText("metrics-note", " (may ask for the key)");
      showCalls("MODEL", true);
    } else if (!answer.ok) {
      rows = [element("li", {}, body.error?.message ?? `/v1/models answered ${answer.status}.`)];
    } else {
      rows = body.data.map((model) => element("li", {}, element("code", {}, model.id)));
      if (body.data.length) showCalls(body.data[0].id, false);
    }
    listed = answer.ok || answer.status === 401;
  } catch {
    rows = [element("li", { class: "quiet" }, "Not known yet.")];
  }
  byId("models").replaceChildren(...rows);
}

function showCalls(model, needsKey) {
  // The same text is JSON and Python, because neither a name nor a string needs more than JSON's escapes.
  const messages = '[{"role": "user", "content": "Hello! Who are you?"}]';
  const fields = [`"model": ${JSON.stringify(model)}`, `"messages": ${messages}`, '"stream": true'];
  byId("curl").textContent = [
    `curl -N ${shellWord(`${base}/chat/completions`)} \\`,
    ...(needsKey ? ['  -H "Authorization: Bearer YOUR_KEY" \\'] : []),
    '  -H "Content-Type: application/json" \\',
    `  -d ${shellWord(`{\n    ${fields.join(",\n    ")}\n  }`)}`,
  ].join("\n");
  byId("python").textContent = [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(base)}, api_key="${needsKey ? "YOUR_KEY" : "not needed"}")`,
    "stream = client.chat.completions.create(",
    `    model=${JSON.stringify(model)},`,
    `    messages=${messages},`,
    "    stream=True,",
    ")",
    "for chunk in stream:",
    '    print(chunk.choices[0].delta.content or "", end="", flush=True)',
  ].join("\n");
}

// A word for a POSIX shell: quoted where it holds anything that a shell could read.
function shellWord(text) {
  return /^[\w:/.@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

async function showVersion() {
  try {
    const { version } = await (await get("/version")).json();
    if (version) setText("version", `twowire ${version}`);
  } catch {
    // The page is complete without it.
  }
}

byId("address").textContent = base;
showCalls("MODEL", false);
for (const button of document.querySelectorAll("button[data-copies]")) {
  button.addEventListener("click", () => copyText(byId(button.dataset.copies), button));
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) watch(); });
watch();
showVersion();
