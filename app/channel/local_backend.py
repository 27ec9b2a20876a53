"""This server as the backend of a channel."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from app.channel.backend import Started, StreamEnd
from app.generation.api import GenerationApi
from app.generation.replay.reader import ReplayReader
from app.generation.stream import ResponseStream
from app.observability.load import Load, Watch
from app.observability.outcome import Wire
from app.observability.record import is_label, key_label
from app.observability.traces import Context
from app.security.caller import Caller
from app.services import Services
from engine.generation import Generation
from protocol.channel.client_frames import (
    CreateFrame,
    FollowFrame,
    FrameRefused,
    OpeningFrame,
    PrefillFrame,
    ResumeFrame,
)
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import request_from_object


class _ChannelTransport:
    """A channel as the transport of its streams: the task of each stream closes it, and errors have frames."""

    wire: Wire = "websocket"
    waits_for_first_step = False

    def note_model(self, name: str) -> None:
        pass

    async def adopt(self, generation: Generation) -> None:
        pass


CHANNEL_TRANSPORT = _ChannelTransport()


class ChannelBackend:
    """What a channel asks of the server, on behalf of its owner."""

    def __init__(
        self,
        services: Services,
        api: GenerationApi[Any],
        caller: Caller,
        connection_id: str,
        context: Context | None = None,
    ) -> None:
        """`api` is the API of create frames that name none."""
        self.requests = 0
        self._services = services
        self._api = api
        self._by_name = {one.name: one for one in services.apis if one.has_websocket}
        self._caller = caller
        self._context = context or {}
        self._label: dict[str, Any] = {"connection": connection_id}
        if caller.owner is not None:
            self._label["key"] = key_label(caller.owner)

    async def create(self, frame: CreateFrame) -> Started:
        services = self._services
        await services.rates.admit(self._caller.client)
        api = self._named(frame)
        body = request_from_object(api.request, frame.body | {"stream": True})
        grace_s = frame.resume.grace_s if frame.resume is not None else None
        stream = await services.generation.start(
            api, body, self._caller, CHANNEL_TRANSPORT, timeout_s=frame.timeout_s, grace_s=grace_s
        )
        buffer = stream.buffer if isinstance(stream, ReplayReader) else None
        try:
            rates = await services.rates.standing(self._caller.client)
        except BaseException:
            await stream.leave()
            raise
        if buffer is None:
            return Started(stream, rates=rates)
        return Started(stream, buffer.token, rates=rates, follow_token=buffer.follow_token)

    async def resume(self, frame: ResumeFrame) -> Started:
        reader = await self._services.replays.resume(
            frame.id, self._caller.owner, frame.resume_token, frame.starting_after
        )
        return Started(reader, last_seq=reader.buffer.last_seq)

    async def follow(self, frame: FollowFrame) -> Started:
        follower = await self._services.replays.follow(frame.id, frame.follow_token, frame.starting_after)
        return Started(follower, last_seq=follower.buffer.last_seq)

    async def prefill(self, body: Mapping[str, Any], frame: PrefillFrame) -> ResponseStream:
        services = self._services
        await services.rates.admit(self._caller.client, keeps_half=True)
        api = self._named(frame)
        request = request_from_object(api.request, {**body, "stream": True})
        return await services.generation.prefill(api, request, self._caller, CHANNEL_TRANSPORT)

    def _named(self, frame: CreateFrame | PrefillFrame) -> GenerationApi[Any]:
        """The API that the frame is for. Raises `TwowireError` if there is no such API."""
        api = self._api if frame.api is None else self._by_name.get(frame.api)
        if api is None:
            message = f"api must be one of: {', '.join(self._by_name)}."
            raise TwowireError(Fault.INVALID_VALUE, message, param="api")
        return api

    def _api_of(self, frame: OpeningFrame | PrefillFrame) -> GenerationApi[Any]:
        if isinstance(frame, CreateFrame | PrefillFrame):
            return self._by_name.get(frame.api or "", self._api)
        is_of = (api for api in self._by_name.values() if api.generation_id(frame.id) is not None)
        return next(is_of, self._api)

    def watch_load(self, push: Callable[[Load], None], interval_s: float) -> Watch:
        shown = self._services.settings.access.shown_stats
        if shown == "off":
            raise TwowireError(Fault.FORBIDDEN_STATS, "This server does not show its load (--server-stats).")
        if shown == "own":
            return self._services.load.watch(lambda load: push(Load({}, load.places)), interval_s)
        return self._services.load.watch(push, interval_s)

    def error_body(self, frame: OpeningFrame | None, error: TwowireError) -> bytes:
        api = self._api if frame is None else self._api_of(frame)
        return api.error_body(error, None)

    def close(self) -> None:
        """The connection has ended."""

    def ended(self, ended: StreamEnd) -> None:
        frame = ended.frame
        label = self._labelled(frame.type, frame.stream_id, frame.event_id)
        if ended.response is not None and isinstance(frame, CreateFrame | PrefillFrame) and frame.body is not None:
            label["model"] = frame.body["model"]
        self._services.access.message(
            self._api_of(frame).path,
            label,
            started_at=ended.began_at,
            response=ended.response,
            error=ended.error,
            # The message's own, where it has one: many callers may share a connection.
            context=frame.trace_context or self._context,
        )

    def refused(self, refused: FrameRefused) -> None:
        label = self._labelled("(refused)", refused.stream_id, refused.event_id)
        self._services.access.message(self._api.path, label, started_at=time.monotonic(), error=refused.error)

    def _labelled(self, kind: str, stream_id: str | None, event_id: str | None) -> dict[str, Any]:
        self.requests += 1
        ids = {"stream_id": stream_id, "event_id": event_id}
        # The client's own words: only what is short and plain goes into the log.
        return {**self._label, "frame": kind} | {name: text for name, text in ids.items() if text and is_label(text)}
