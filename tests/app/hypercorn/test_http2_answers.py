"""What HTTP/2 makes of an application that breaks off, or never answers. Over a real socket; no Quart is needed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.app.served import served
from tests.live.clients.raw_http2 import Http2Client, Stream

INTERNAL_ERROR = 2
LIMIT_S = 5


async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
    """Answers `/whole`; everything else begins, and ends or raises midway."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the beginning", "more_body": True})
    if scope["path"] == "/raises":
        raise RuntimeError("midway")
    if scope["path"] == "/whole":
        await send({"type": "http.response.body", "body": b" and the end"})


@pytest.mark.parametrize("path", ["/ends", "/raises"])
async def test_an_answer_that_breaks_off_is_reset(path: str) -> None:
    def ask(port: int) -> tuple[Stream, Stream]:
        with Http2Client(port) as client:
            broken = client.finish(client.open(path, method="GET"), LIMIT_S)
            return broken, client.ask("/whole")

    async with served(breaks_off) as port:
        broken, whole = await asyncio.to_thread(ask, port)
    assert (broken.status, broken.reset, broken.has_ended) == (200, INTERNAL_ERROR, False)
    assert (bytes(whole.body), whole.has_ended) == (b"the beginning and the end", True)


async def never_answers(scope: Any, receive: Any, send: Any) -> None:
    """Waits until its client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("how", ["reset", "refused"])
async def test_a_connection_is_idle_when_its_last_stream_was_reset_or_refused(how: str) -> None:
    def leave(port: int) -> None:
        with Http2Client(port) as client:
            if how == "reset":
                client.reset(client.open("/", method="GET"))
            else:
                assert client.ask("?no-slash").status == 400
            client.read_to_end(LIMIT_S)

    async with served(never_answers, keep_alive_timeout=0.2) as port:
        await asyncio.to_thread(leave, port)
