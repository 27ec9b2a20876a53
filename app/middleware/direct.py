"""Serves the routes that generate without Quart's request: no contexts, no proxies, no tasks.

They pass the same checks, run the same code and answer the same bytes as through Quart, for a third of its cost.
What needs more of Quart goes through it: requests of browsers, which have an Origin header, and everything where CORS
or a root path is configured. Tests: `tests/app/middleware/test_direct.py`, and all that post to these routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from quart import Quart

from app.generation.api import GenerationApi
from app.hypercorn import when_gone
from app.middleware.checks import Labels, check_caller, check_host
from app.middleware.errors import refusal, unforeseen_error
from app.observability.record import RequestRecord, record_of
from app.routes.generation import respond
from app.routes.shared.answer import Answer
from app.routes.shared.asked import ClientGone, DirectRequest, Receive
from app.services import Services
from protocol.errors import TwowireError

Send = Callable[[Any], Awaitable[None]]


def serve_directly(app: Quart, services: Services) -> None:
    """Serve the requests to generate directly that need nothing of Quart's."""
    if services.settings.access.cors_origins:
        return  # Its headers are Quart's work.
    apis, labels = {api.path: api for api in services.apis}, Labels(services)

    base: Any = app.asgi_http_class

    class Connection(base):  # type: ignore[misc]  # the class is known at run time only
        """One request."""

        async def __call__(self, receive: Any, send: Any) -> None:
            scope: Any = self.scope
            api = apis.get(scope["path"])
            if api is None or not _is_plain(scope):
                await super().__call__(receive, send)
                return
            asked = DirectRequest(scope, receive, services.settings.requests.max_body_bytes)
            await _serve(services, labels, api, asked, receive, send)

    app.asgi_http_class = Connection


def _is_plain(scope: Any) -> bool:
    return (
        scope["method"] == "POST"
        and not scope.get("root_path")
        and scope["http_version"] >= "1.1"
        and all(name != b"origin" for name, _ in scope["headers"])
    )


async def _serve(
    services: Services, labels: Labels, api: GenerationApi[Any], asked: DirectRequest, receive: Receive, send: Send
) -> None:
    record = record_of(asked.scope)
    record.path = api.path
    watch = ClientWatch(asked.scope, receive)
    asked.on_read = watch.start
    try:
        answer = await _answer(services, labels, api, asked, record)
        if not asked.is_read:
            watch.drain()
        await _send(answer, send)
    except ClientGone:
        pass
    except asyncio.CancelledError:
        if not watch.is_gone:
            raise
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
    finally:
        watch.stop()


async def _answer(
    services: Services, labels: Labels, api: GenerationApi[Any], asked: DirectRequest, record: RequestRecord
) -> Answer:
    """The answer, with its labels. Raises `ClientGone`, and nothing else."""
    try:
        try:
            check_host(services, asked.scope, asked.headers)
            await check_caller(services, services.keys, asked.scope, asked.headers, is_metered=api.is_metered)
            answer = await respond(services, api, asked)
        except TwowireError as error:
            answer = refusal(services, error, record, api.path, asked.headers)
        record.status = answer.status
        answer.headers |= await labels.of(record, is_metered=api.is_metered)
    except ClientGone:
        raise
    except Exception as error:
        answer = refusal(services, unforeseen_error(error, record), record, api.path, asked.headers)
    return answer


async def _send(answer: Answer, send: Send) -> None:
    body, headers = answer.body, [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    if isinstance(body, bytes):
        headers.append((b"content-length", b"%d" % len(body)))
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return
    async with aclosing(body) as parts:  # type: ignore[type-var]  # all of ours are generators
        await send(start)
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class ClientWatch:
    """Cancels the task that made it when the request's client leaves."""

    def __init__(self, scope: Any, receive: Receive) -> None:
        self.is_gone = False
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._scope = scope
        self._receive = receive
        self._reader: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] | None = None

    def start(self) -> None:
        """Watch from now on. The request has been read: nothing else is to come."""
        self._forget = when_gone(self._scope, self._leave)
        if self._forget is None:
            self.drain()

    def drain(self) -> None:
        """Watch, and drop the rest of the body: it must not hold up the connection."""
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self.is_gone = True
        self._task.cancel()

    def stop(self) -> None:
        """Watch no more."""
        if self._forget is not None:
            self._forget()
        if self._reader is not None:
            self._reader.cancel()
