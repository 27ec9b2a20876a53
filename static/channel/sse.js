// Parses a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

/**
 * The events as they come.
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} onBytes Called for all that comes, comments included.
 * @returns {AsyncGenerator<{ id: string, data: string }, void>} `id` is empty for an event that has none.
 */
export async function* events(body, onBytes) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let id = "";
  /** @type {string[]} */
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
      rest = /** @type {string} */ (lines.pop());
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { id, data: data.join("\n") };
          id = "";
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(5).replace(/^ /, ""));
        } else if (line.startsWith("id:")) {
          id = line.slice(3).trim();
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
