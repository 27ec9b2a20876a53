"""The soak's clients over HTTP/1.1 and HTTP/2: readers, leavers, returners, slow ones and wrong ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from bench.soak.ledger import Ask, Fate, Ledger

CHAT, COMPLETION, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
LONG_TOKENS = 1500
EMBEDDING_MODEL = "all-MiniLM-L6-v2"
OUR_CODES = frozenset({"engine_died", "internal_error"})

COMPLETED, CANCELLED = frozenset({"completed"}), frozenset({"cancelled"})
REFUSED, DETACHED = frozenset({"refused"}), frozenset({"detached"})
WRONG: list[tuple[str, bytes]] = [
    (CHAT, b"{"),
    (CHAT, b'{"model":"guide"}'),
    (CHAT, b'{"model":"none-such","messages":[{"role":"user","content":"a"}]}'),
    (CHAT, b'{"model":"guide","messages":[{"role":"user","content":"a"}],"temperature":9}'),
    (CHAT, b'{"model":"guide","messages":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    (COMPLETION, b'{"model":"guide","prompt":"a","max_tokens":-1}'),
    (COMPLETION, b"\xff\xfe"),
    ("/v1/none-such", b"{}"),
]


def chat_body(rng: random.Random, **more: Any) -> dict[str, Any]:
    """A chat that runs to its last token."""
    question = f"Tell me about {rng.choice(('wires', 'tokens', 'limits', 'keys'))}, {rng.random()}."
    chat = [{"role": "user", "content": question}]
    return {"model": "guide", "messages": chat, "max_tokens": rng.randint(5, 80), "ignore_eos": True} | more


def fate_of_error(code: object) -> Fate:
    """How a request ended that got an error with this code in place of an answer."""
    return "failed" if code in OUR_CODES else "refused"


class Events:
    """A stream of server-sent events, as it is read."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.chunks: list[dict[str, Any]] = []
        self.last_id = 0
        self.error: dict[str, Any] | None = None
        self.is_done = False
        self._lines = response.aiter_lines()

    async def read(self, chunks: int | None = None) -> None:
        """Read so many chunks, or to the end."""
        before = len(self.chunks)
        async for line in self._lines:
            if line.startswith("id: "):
                number = int(line[4:])
                if self.last_id and number != self.last_id + 1:
                    raise ValueError(f"event {number} came after {self.last_id}")
                self.last_id = number
            elif line == "data: [DONE]":
                self.is_done = True
            elif line.startswith("data: "):
                found = orjson.loads(line[6:])
                if "error" in found:
                    self.error = found["error"]
                else:
                    self.chunks.append(found)
            if chunks is not None and len(self.chunks) - before >= chunks:
                return

    @property
    def fates(self) -> frozenset[Fate | None]:
        """What fits a stream that has been read to its end."""
        if not self.is_done:
            # The connection was cut in the middle: no end that this server has.
            return frozenset()
        if self.error is not None:
            return frozenset({"failed"})
        return COMPLETED if self.is_finished else CANCELLED

    @property
    def is_finished(self) -> bool:
        """A chunk has said why the answer ended; usage and `[DONE]` may still come."""
        return any(choice["finish_reason"] for chunk in self.chunks for choice in chunk.get("choices", []))

    @property
    def tokens(self) -> int | None:
        """What the last chunk says was generated."""
        usage = self.chunks[-1].get("usage") if self.chunks else None
        return None if usage is None else int(usage["completion_tokens"])


@dataclass
class HttpClient:
    """One client, which asks one thing after another."""

    ledger: Ledger
    fresh: Callable[[], httpx.AsyncClient]
    """Makes a client with connections of its own. httpx leaves a stream by HTTP/2 only with its connection."""
    http: httpx.AsyncClient
    rng: random.Random
    name: str

    def _ask(self, kind: str, wire: str) -> Ask:
        return self.ledger.ask(f"{self.name}: {kind}", wire)

    @asynccontextmanager
    async def _stream(
        self, ask: Ask, body: dict[str, Any], *, is_left: bool = False, **headers: str
    ) -> AsyncIterator[Events | None]:
        """A chat's stream; None where it was refused, which is then written down."""
        labels = {"X-Request-Id": ask.id, **headers}
        more = {"stream": True, "stream_options": {"include_usage": True}}
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(self.fresh()) if is_left else self.http
            asking = http.stream("POST", CHAT, json=body | more, headers=labels)
            response = await stack.enter_async_context(asking)
            if response.status_code == 200:
                yield Events(response)
                return
            self._refused(ask, response.status_code, await response.aread())
            yield None

    def _refused(self, ask: Ask, status: int, raw: bytes, meant: Iterable[Fate | None] = ()) -> None:
        code = orjson.loads(raw)["error"]["code"]
        self.ledger.end(ask, {fate_of_error(code)}, meant, f"{status} {code}")

    def _read(self, ask: Ask, events: Events, meant: Iterable[Fate | None] = COMPLETED) -> None:
        """A stream was read to its end."""
        if events.fates == COMPLETED:
            ask.tokens = events.tokens
        self.ledger.end(ask, events.fates, meant, events.error or "")

    async def whole_stream(self) -> None:
        ask = self._ask("a stream, read whole", "sse")
        async with self._stream(ask, chat_body(self.rng)) as events:
            if events is not None:
                await events.read()
                self._read(ask, events)

    async def whole_answer(self) -> None:
        ask = self._ask("an answer in JSON", "http")
        body = chat_body(self.rng)
        if self.rng.random() < 0.5:
            await self._post(ask, CHAT, body)
        else:
            del body["messages"]
            await self._post(ask, COMPLETION, body | {"prompt": "Two wires"})

    async def embeddings(self) -> None:
        ask = self._ask("embeddings", "http")
        texts = [f"text {number} of {self.rng.random()}" for number in range(self.rng.randint(1, 40))]
        await self._post(ask, EMBEDDINGS, {"model": EMBEDDING_MODEL, "input": texts})

    async def embeddings_left(self) -> None:
        ask = self._ask("embeddings, left", "http")
        texts = ["a text that is long enough to take a moment " * 8] * 1500
        await self._leave(ask, EMBEDDINGS, {"model": EMBEDDING_MODEL, "input": texts})

    async def _post(self, ask: Ask, path: str, body: dict[str, Any], http: httpx.AsyncClient | None = None) -> None:
        response = await (http or self.http).post(path, json=body, headers={"X-Request-Id": ask.id})
        if response.status_code != 200:
            self._refused(ask, response.status_code, response.content)
            return
        ask.tokens = response.json()["usage"].get("completion_tokens")
        self.ledger.end(ask, COMPLETED, COMPLETED)

    async def left_stream(self) -> None:
        ask = self._ask("a stream, left", "sse")
        async with self._stream(ask, chat_body(self.rng, max_tokens=LONG_TOKENS), is_left=True) as events:
            if events is None:
                return
            await events.read(self.rng.randint(1, 10))
        self._left(ask, events)

    def _left(self, ask: Ask, events: Events, fates: frozenset[Fate | None] = CANCELLED) -> None:
        """A stream was left in its middle, unless it had ended before."""
        if events.is_done:
            self._read(ask, events)
        else:
            self.ledger.leave(ask, fates)

    async def left_answer(self) -> None:
        ask = self._ask("an answer in JSON, left", "http")
        await self._leave(ask, CHAT, chat_body(self.rng, max_tokens=LONG_TOKENS))

    async def _leave(self, ask: Ask, path: str, body: dict[str, Any]) -> None:
        async with self.fresh() as http:
            asking = asyncio.ensure_future(self._post(ask, path, body, http))
            await asyncio.wait({asking}, timeout=self.rng.uniform(0.0, 0.3))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        if ask.ended_at is None:
            # Sent or not, and if sent, it may have been done at that very moment.
            fates = CANCELLED | COMPLETED | REFUSED | {None}
            self.ledger.end(ask, fates, fates)

    async def resumed(self) -> None:
        ask = self._ask("a resumable stream, lost", "sse")
        body = chat_body(self.rng, max_tokens=self.rng.randint(100, 300))
        async with self._stream(ask, body, is_left=True, **{"Twowire-Resume-Grace": "20"}) as events:
            if events is None:
                return
            await events.read(self.rng.randint(1, 20))
        # On a busy machine the server may be done with it, all sent, before the client has read so far.
        self._left(ask, events, DETACHED | COMPLETED)
        if events.is_done or events.is_finished:
            return
        headers = events.response.headers
        await self.read_on(ask, headers["Twowire-Completion-Id"], headers["Twowire-Resume-Token"], events.last_id)

    async def read_on(self, begun: Ask, id_: str, token: str, after: int) -> None:
        """Come back to a generation that was begun on either wire, and read it to its end."""
        ask = self.ledger.ask(f"{self.name}: a stream, read on", "sse", begun)
        headers = {"X-Request-Id": ask.id, "Twowire-Resume-Token": token}
        async with self.http.stream("GET", f"{CHAT}/{id_}/stream?starting_after={after}", headers=headers) as response:
            if response.status_code != 200:
                self._refused(ask, response.status_code, await response.aread())
                return
            events = Events(response)
            events.last_id = after
            await events.read()
        if events.fates == COMPLETED:
            ask.tokens = events.tokens
        self.ledger.end(ask, events.fates, COMPLETED, events.error or "")

    async def cancelled(self) -> None:
        ask = self._ask("a stream, cancelled from elsewhere", "sse")
        async with self._stream(ask, chat_body(self.rng, max_tokens=LONG_TOKENS)) as events:
            if events is None:
                return
            await events.read(1)
            cancel = self._ask("a cancel", "http")
            path = f"{CHAT}/{events.chunks[0]['id']}" if events.chunks else f"{CHAT}/none"
            response = await self.http.delete(path, headers={"X-Request-Id": cancel.id})
            saw: Fate = "completed" if response.status_code == 200 else "refused"
            await events.read()
            # The stream may have ended before a slow client's cancel.
            is_late = events.is_finished
            self.ledger.end(cancel, {saw}, COMPLETED | REFUSED if is_late else COMPLETED, response.text)
        self._read(ask, events, COMPLETED if is_late else CANCELLED)

    async def wrong(self) -> None:
        path, body = self.rng.choice(WRONG)
        ask = self._ask("bad input", "http")
        labels = {"X-Request-Id": ask.id, "Content-Type": "application/json"}
        response = await self.http.post(path, content=body, headers=labels)
        if response.status_code >= 400:
            self._refused(ask, response.status_code, response.content, REFUSED)
        else:
            self.ledger.end(ask, COMPLETED, REFUSED)
