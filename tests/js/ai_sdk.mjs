// What the tests of Vercel's AI SDK share: its packages, which are in `.node`, and scripted questions for the server
// whose address is SERVER_URL.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { SERVER_URL } = process.env;
/** Why the tests are not run, or false. */
export const skip = SERVER_URL ? false : "SERVER_URL names no server";
/** What every provider is made with. */
export const server = { name: "twowire", baseURL: `${SERVER_URL}/v1`, apiKey: "unused" };

const found = createRequire(new URL("../../.node/", import.meta.url));
export const load = async (name) => (skip ? {} : import(pathToFileURL(found.resolve(name)).href));

globalThis.AI_SDK_LOG_WARNINGS = false;
const { tool } = await load("ai");
const { z } = await load("zod");

export const CALL = '<tool_call>\n{"name": "getWeather", "arguments": {"city": "Rome"}}\n</tool_call>';
export const TWO = `${CALL}\n${CALL.replace("Rome", "Seoul")}`;
/** The turn that answers with what the engine was asked, as JSON. */
export const THE_REQUEST = "\0the request";
export const WEATHER = { city: "Rome", degrees: 21 };

/** The question whose answers are `turns`: see tests/live/servers/dialogue.py. */
export function question(turns, options = {}) {
  const text = Buffer.from(JSON.stringify({ turns, ...options })).toString("base64url");
  return { prompt: `How is the weather? [[dialogue:${text}]]`, maxRetries: 0 };
}

export function tools() {
  return {
    getWeather: tool({
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `sunny in ${city}`,
    }),
  };
}
