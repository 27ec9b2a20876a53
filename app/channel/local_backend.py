"""This server as the backend of a channel."""

from __future__ import annotations

import time
from typing import Any

from app.channel.backend import Started, StreamEnd
from app.generation.admission import run_admitted
from app.generation.api import CHAT
from app.limits.deadlines import deadlines_of
from app.observability.record import is_label, key_label
from app.observability.traces import Context
from app.routes.generation import live_reply
from app.security.caller import Caller
from app.services import Services
from protocol.channel.client_frames import CreateFrame, FrameRefused, ResumeFrame
from protocol.chat.request import ChatCompletionRequest
from protocol.validation.parse import request_from_object

CHANNEL_PATH = "/v1/chat/completions"


class ChannelBackend:
    """What a channel asks of the server, on behalf of its owner."""

    def __init__(self, services: Services, caller: Caller, connection_id: str, context: Context | None = None) -> None:
        self.requests = 0
        self._services = services
        self._caller = caller
        self._owner = caller.owner
        self._context = context or {}
        self._label: dict[str, Any] = {"connection": connection_id}
        if caller.owner is not None:
            self._label["key"] = key_label(caller.owner)

    async def create(self, frame: CreateFrame) -> Started:
        services = self._services
        await services.rates.admit(self._caller.client)
        asked = request_from_object(ChatCompletionRequest, frame.body | {"stream": True})
        services.take_note(asked, CHANNEL_PATH)
        deadlines = deadlines_of(services.settings, frame.timeout_s)
        async with deadlines.limit():
            prepared = await services.manager.prepare(asked.generation_request(), self._caller.client)
        generation = await run_admitted(services, prepared, "websocket", self._caller, deadlines)
        reply = live_reply(generation, asked, prepared, CHAT, services.pace)
        rates = await services.rates.standing(self._caller.client)
        if frame.resume is None:
            return Started(reply, rates=rates)
        reader = services.replays.keep(reply, self._owner, frame.resume.grace_s)
        return Started(reader, reader.token, rates=rates)

    def resume(self, frame: ResumeFrame) -> Started:
        reader = self._services.replays.resume(frame.id, self._owner, frame.resume_token, frame.starting_after)
        return Started(reader, last_seq=reader.last_seq)

    def ended(self, ended: StreamEnd) -> None:
        frame = ended.frame
        label = self._labelled(frame.type, frame.stream_id, frame.event_id)
        if ended.response is not None and isinstance(frame, CreateFrame):
            label["model"] = frame.body["model"]
        self._services.access.message(
            CHANNEL_PATH,
            label,
            started_at=ended.began_at,
            reply=ended.response,
            error=ended.error,
            # The message's own, where it has one: many callers may share a connection.
            context=frame.trace_context or self._context,
        )

    def refused(self, refused: FrameRefused) -> None:
        label = self._labelled("(refused)", refused.stream_id, refused.event_id)
        self._services.access.message(CHANNEL_PATH, label, started_at=time.monotonic(), error=refused.error)

    def _labelled(self, kind: str, stream_id: str | None, event_id: str | None) -> dict[str, Any]:
        self.requests += 1
        ids = {"stream_id": stream_id, "event_id": event_id}
        # The client's own words: only what is short and plain goes into the log.
        return {**self._label, "frame": kind} | {name: text for name, text in ids.items() if text and is_label(text)}
