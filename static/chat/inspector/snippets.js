// The same request as a program: for curl, Python and JavaScript. Keys stay out; programs read them from a variable.

/**
 * @typedef {object} Request
 * @property {Record<string, any>} body As the page sent it.
 * @property {string} root The server's address, with a slash at its end.
 * @property {boolean} hasKey Whether the server asks for an API key.
 */

/** @typedef {"curl" | "Python" | "JavaScript"} Language */

/** @type {Record<Language, (request: Request) => string>} */
export const SNIPPETS = { curl, Python: python, JavaScript: javascript };

/** @param {Request} request */
function curl({ body, root, hasKey }) {
  const quoted = JSON.stringify({ ...body, stream: true }, null, 2).replaceAll("'", "'\\''");
  const key = hasKey ? ` \\\n  -H "Authorization: Bearer $OPENAI_API_KEY"` : "";
  return `curl -N ${root}v1/chat/completions \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${quoted}'\n`;
}

/** @param {Request} request */
function python({ body, root, hasKey }) {
  const { model, messages, ...others } = body;
  const key = hasKey ? `os.environ["OPENAI_API_KEY"]` : `"unused"`;
  const extra = Object.keys(others).length > 0 ? `\n    extra_body=${literal(others, "    ")},` : "";
  return `${hasKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${root}v1", api_key=${key})
stream = client.chat.completions.create(
    model=${literal(model, "    ")},
    messages=${literal(messages, "    ")},
    stream=True,${extra}
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`;
}

/** @param {Request} request */
function javascript({ body, root, hasKey }) {
  const key = hasKey ? ", apiKey: process.env.OPENAI_API_KEY" : "";
  return `// channel.js: ${root}static/channel.js, and the files in static/channel.
const { Channel } = await import("./channel.js");

const channel = new Channel({ baseUrl: "${root}"${key} });
const answer = channel.create(${JSON.stringify(body, null, 2)}, { resumeGrace: 60 });
let shown = 0;
for await (const _ of answer) {
  process.stdout.write(answer.text.slice(shown));
  shown = answer.text.length;
}
channel.close();
`;
}

/**
 * JSON as Python writes it.
 * @param {any} value
 * @param {string} indent Of the line that it begins in.
 * @returns {string}
 */
function literal(value, indent) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  // Python reads JSON's strings and numbers as they are.
  if (typeof value !== "object") return JSON.stringify(value);
  const deeper = `${indent}    `;
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value) ? value.map((item) => literal(item, deeper))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, deeper)}`);
  if (items.length === 0) return open + close;
  return `${open}\n${items.map((item) => `${deeper}${item},\n`).join("")}${indent}${close}`;
}
