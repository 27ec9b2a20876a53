// A ticket for a browser: your server holds the API key, the page gets what opens one WebSocket within 30 seconds.
//
// The file is a route of Next.js: copy it to app/api/ticket/route.ts. server.ts beside it calls it without any framework.
// LLM_URL is the address of twowire, LLM_API_KEY one of its keys.

declare const process: { env: Record<string, string | undefined> };

export async function POST(request: Request): Promise<Response> {
  // Here your own server checks who asks: its session, and how often.
  const origin = request.headers.get("Origin");
  if (origin === null) return Response.json({ error: { message: "Only pages get tickets." } }, { status: 403 });
  const base = process.env.LLM_URL ?? "http://127.0.0.1:8000";
  const answer = await fetch(`${base}/v1/ws/tickets`, {
    method: "POST",
    // The ticket is good for this page's origin only.
    headers: { Authorization: `Bearer ${process.env.LLM_API_KEY ?? ""}`, Origin: origin },
  });
  const headers = new Headers({ "Cache-Control": "no-store" });
  // After a refusal, the page's client waits for so long.
  const wait = answer.headers.get("Retry-After");
  if (wait !== null) headers.set("Retry-After", wait);
  return Response.json(await answer.json(), { status: answer.status, headers });
}
