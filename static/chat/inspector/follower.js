// Reads a generation's server-sent events over HTTP, beside whoever receives it over the socket.

import { events } from "../../channel/sse.js";
import { ROOT } from "../root.js";

const MAX_FAILURES = 5;
const RETRY_MS = 1000;

/**
 * Read the events; resolves after the last, or to why they end early.
 * @param {object} from
 * @param {string} from.id The completion's.
 * @param {string} from.token Its follow token.
 * @param {number} from.startingAfter The number of the last chunk that is not read.
 * @param {string} from.key The API key; empty for none.
 * @param {AbortSignal} from.signal Ends it.
 * @param {(id: string, data: string) => void} from.onEvent
 * @returns {Promise<string>} Empty after the last event.
 */
export async function follow({ id, token, startingAfter, key, signal, onEvent }) {
  /** @type {Record<string, string>} */
  const headers = { "Twowire-Follow-Token": token };
  if (key) headers.Authorization = `Bearer ${key}`;
  let seq = startingAfter;
  let reason = "";
  for (let failures = 0; failures < MAX_FAILURES && !signal.aborted; failures += 1) {
    try {
      const address = new URL(`v1/chat/completions/${encodeURIComponent(id)}/stream?starting_after=${seq}`, ROOT);
      const answer = await fetch(address, { headers, signal, cache: "no-store" });
      if (!answer.ok || answer.body === null) return await reasonOf(answer);
      for await (const event of events(answer.body, () => {})) {
        onEvent(event.id, event.data);
        if (event.data === "[DONE]") return "";
        seq = Number(event.id) || seq;
        failures = 0;
      }
      reason = "the stream ended early";
    } catch (error) {
      reason = String(error);
    }
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  return reason;
}

/** @param {Response} answer */
async function reasonOf(answer) {
  const body = await answer.json().catch(() => undefined);
  return body?.error?.message ?? `HTTP ${answer.status}`;
}
