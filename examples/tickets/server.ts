// A web server of its own with the page and its route for tickets, in plain TypeScript: no framework, no build step.
//
//   TWOWIRE_API_KEYS=a-key-of-yours make serve ARGS="--cors-origins http://127.0.0.1:3000"
//   LLM_API_KEY=a-key-of-yours node examples/tickets/server.ts
//
// Then open http://127.0.0.1:3000. Needs Node 22.18 or newer, which runs TypeScript as it is.

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import { POST } from "./route.ts";

const PAGE = new URL("./page.html", import.meta.url);
const STATIC = new URL("../../static/", import.meta.url);
const TYPES: Record<string, string> = { js: "text/javascript", html: "text/html; charset=utf-8" };

function fileFor(path: string): URL | undefined {
  if (path === "/") return PAGE;
  // The channel's client, and nothing else.
  return /^\/channel(\/[a-z-]+)?\.js$/.test(path) ? new URL(`.${path}`, STATIC) : undefined;
}

async function respond(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (pathname === "/api/ticket" && request.method === "POST") return POST(request);
  if (pathname === "/settings") return Response.json({ server: process.env.LLM_URL ?? "http://127.0.0.1:8000" });
  const file = fileFor(pathname);
  if (file === undefined) return new Response("not found", { status: 404 });
  const type = TYPES[file.pathname.split(".").at(-1) ?? ""];
  const content = await readFile(file).catch(() => undefined);
  return content === undefined
    ? new Response("not found", { status: 404 })
    : new Response(content, { headers: { "Content-Type": type } });
}

/** Throws a TypeError where the request is not one that `fetch` could make, such as TRACE. */
function requestOf({ headers: given, url, method }: IncomingMessage): Request {
  const headers = Object.entries(given).map(([name, value]) => [name, String(value)] as [string, string]);
  return new Request(`http://${given.host}${url}`, { method, headers });
}

async function answer(incoming: IncomingMessage): Promise<Response> {
  let request: Request;
  try {
    request = requestOf(incoming);
  } catch {
    return new Response("bad request", { status: 400 });
  }
  return respond(request).catch((error: unknown) => {
    console.error(error);
    return Response.json({ error: { message: "The model's server cannot be reached." } }, { status: 502 });
  });
}

const server = createServer(async (incoming, outgoing) => {
  const response = await answer(incoming);
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(Buffer.from(await response.arrayBuffer()));
});

server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  const address = server.address();
  console.log(`http://127.0.0.1:${typeof address === "object" ? address?.port : address}`);
});
