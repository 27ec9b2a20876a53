"""Tells the operator where the server listens, how far its start is, and what it serves.

For programs, two lines: `twowire: listening on …` on standard error and `twowire: ready: …` on standard output. On a
terminal, a short text in place of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from app.observability.screen import Screen
from app.server.shutdown import Stop
from app.services import Services
from app.version import installed_version
from engine.api import Progress
from engine.manager import EngineManager
from engine.speech.decoder import HOW_TO_INSTALL, LIBRARY, is_available
from engine.supervisor import EngineState

log = structlog.get_logger(__name__)

DRAW_S = 0.25
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""Where this machine reaches a server that listens on all its addresses."""


@dataclass(frozen=True, slots=True)
class Announcer:
    """Announces one server: the only one, or the first of several API servers, which is ready last."""

    url: str
    screen: Screen
    speaks: bool = True
    """Whether it says anything: of several API servers, one does."""

    def listening(self, services: Services) -> None:
        """The port is open."""
        self.screen.shows_start = self.screen.is_live
        log.info("listening", url=self.url, model=services.models.names[0])
        if not self.speaks:
            return
        if self.screen.is_live:
            self.screen.write(f"twowire {installed_version()} on {self.url}; the model is loading. Ctrl+C stops it.\n")
        else:
            sys.stderr.write(f"twowire: listening on {self.url}; the model is loading\n")

    async def watch(self, services: Services, stop: Stop) -> None:
        """Announce the server once the engine is ready; stop it if the engine cannot start."""
        try:
            await self._watch(services, stop)
        finally:
            self.screen.shows_start = False

    async def _watch(self, services: Services, stop: Stop) -> None:
        manager = services.manager
        began_at = time.monotonic()
        async with self._drawn(manager):
            await manager.wait_settled()
        if manager.state is EngineState.FAILED:
            stop.failed = manager.reason
            stop.now()
        elif manager.is_ready and self.speaks:
            # `isatty`, not `is_live`: a file may take the one and a terminal the other.
            is_for_people = sys.stdout.isatty() and services.settings.logging.log_format != "json"
            text = (
                summary(services, self.url, time.monotonic() - began_at) if is_for_people else line(services, self.url)
            )
            sys.stdout.write(text)
            sys.stdout.flush()
            if (manager.is_speech_model or "audio" in manager.modalities) and not is_available():
                sys.stderr.write(f"twowire: recordings cannot be decoded: {LIBRARY} is missing; {HOW_TO_INSTALL}\n")
            if services.embedder.models or not is_for_people:  # The summary says that there are none.
                await self._announce_embedder(services)

    @contextlib.asynccontextmanager
    async def _drawn(self, manager: EngineManager) -> AsyncIterator[None]:
        """Show on a terminal what `manager` does, until the block ends."""
        if not (self.speaks and self.screen.is_live):
            yield
            return
        drawing = asyncio.create_task(self._draw(manager))
        try:
            yield
        finally:
            drawing.cancel()
            self.screen.show("")

    async def _draw(self, manager: EngineManager) -> None:
        began_at = time.monotonic()
        while True:
            await asyncio.sleep(DRAW_S)
            self.screen.show(f"{stage(manager.reason, manager.progress)} ({time.monotonic() - began_at:.0f} s)")

    async def _announce_embedder(self, services: Services) -> None:
        embedder = services.embedder
        if embedder.models:
            await embedder.wait_settled()
        if embedder.is_ready:
            log.info("embeddings_ready", models=list(embedder.models))
            if self.screen.is_live:
                self.screen.write("Embeddings are ready.\n")
        elif embedder.state in (EngineState.FAILED, EngineState.STOPPED):
            sys.stderr.write(f"twowire: there are no embeddings: {embedder.reason}\n")


def stage(reason: str, progress: Progress | None) -> str:
    """What a starting engine does, for people."""
    text = reason[:1].upper() + reason[1:]
    if progress is None or progress.total == 1:
        return text
    if progress.unit != "bytes":
        return f"{text}: {progress.done} of {progress.total} {progress.unit}"
    size, unit = (1e9, "GB") if progress.total >= 1e9 else (1e6, "MB")
    digits = 1 if unit == "GB" else 0
    share = progress.done / progress.total
    return f"{text}: {progress.done / size:.{digits}f} of {progress.total / size:.{digits}f} {unit}, {share:.0%}"


def line(services: Services, url: str) -> str:
    """That the server is ready, for programs."""
    formats = services.manager.formats
    tools, thoughts = formats.tool_calls or "none", formats.reasoning or "none"
    model = f"model: {services.models.names[0]}, "
    model += "for recordings" if services.manager.is_speech_model else f"tools: {tools}, thoughts: {thoughts}"
    return f"twowire: ready: {url} ({model}). Chat: {url}/ Docs: {url}/docs\n"


def summary(services: Services, url: str, took_s: float) -> str:
    """That the server is ready, for people: the page's address first."""
    host = services.settings.listening.url_host
    here = url.replace(f"//{host}:", f"//{EVERY_ADDRESS.get(host, host)}:")
    manager, formats = services.manager, services.manager.formats
    rows = {
        "Chat": f"{here}/",
        "Docs": f"{here}/docs",
        "API": f"{here}/v1",
        "Model": services.models.names[0] + (", for recordings" if manager.is_speech_model else ""),
        "Tool calls": formats.tool_calls,
        "Reasoning": formats.reasoning,
        "API keys": _keys(services),
        "Embeddings": _embeddings(services),
    }
    lines = [f"  {name:<12}{value}" for name, value in rows.items() if value is not None]
    return "\n".join(["", f"Ready after {took_s:.0f} s.", "", *lines, "", ""])


def _keys(services: Services) -> str:
    settings = services.settings
    if services.keys:
        count = len(settings.access.keys())
        return f"{count}; requests need one" if count > 1 else "1; requests need it"
    return "none; only this machine has access" if settings.listening.is_loopback else "none; everybody has access"


def _embeddings(services: Services) -> str:
    embedder = services.embedder
    if not embedder.models:
        return f"none; {embedder.reason}"
    names = ", ".join(embedder.models)
    return names if embedder.is_ready else f"{names}; ready in some seconds"
