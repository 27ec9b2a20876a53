"""Any ASGI app behind the fixed hypercorn, on a real socket, in this process. The app handles requests alone.

Clients that block belong in a thread: `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve

from app.hypercorn import create_sockets, install, uninstall
from app.hypercorn.config import ServerConfig

LIMIT_S = 10


@contextmanager
def installed(without: Collection[str] = ()) -> Iterator[None]:
    """hypercorn with all fixes but these; with all of them afterwards."""
    uninstall()
    install(without=without)
    try:
        yield
    finally:
        uninstall()
        install()


@asynccontextmanager
async def served(app: Any, *, without: Collection[str] = (), **settings: Any) -> AsyncIterator[int]:
    """The port of `app`, served with these settings of `ServerConfig` and `without` these fixes; then stopped."""
    config = ServerConfig()
    config.bind, config.errorlog, config.graceful_timeout = ["127.0.0.1:0"], None, 0.05
    for name, value in settings.items():
        setattr(config, name, value)
    sockets = create_sockets(config)
    stop = asyncio.Event()
    with installed(without):
        serving = asyncio.create_task(
            worker_serve(ASGIWrapper(_without_lifespan(app)), config, sockets=sockets, shutdown_trigger=stop.wait)
        )
        try:
            yield sockets.insecure_sockets[0].getsockname()[1]
        finally:
            stop.set()
            async with asyncio.timeout(LIMIT_S):
                await serving


def _without_lifespan(app: Any) -> Any:
    """`app`, as one that has nothing to start."""

    async def handled(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for reply in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{reply}.complete"})

    return handled
