"""This server as the backend of a connection of OpenAI's WebSocket protocol."""

from __future__ import annotations

from typing import Any

from app.channel.backend import Started
from app.channel.local_backend import CHANNEL_TRANSPORT, ChannelBackend
from app.channel.responses.connection_history import ConnectionHistory
from app.channel.responses.steering import SuccessorFrame
from app.generation.api import GenerationApi
from app.generation.stream import ResponseStream
from app.observability.traces import Context
from app.security.caller import Caller
from app.services import Services
from app.stores.responses.history import StoredHistory
from protocol.channel.client_frames import CreateFrame
from protocol.channel.responses_codec import CREATE
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import request_from_object


class ResponsesBackend(ChannelBackend):
    """Creates responses, which may continue others of the connection. Call `close` at its end."""

    def __init__(
        self,
        services: Services,
        api: GenerationApi[Any],
        caller: Caller,
        connection_id: str,
        context: Context | None = None,
    ) -> None:
        super().__init__(services, api, caller, connection_id, context)
        stored = StoredHistory(services.responses, caller.owner)
        self._history = ConnectionHistory(connection_id, services.socket_responses, stored)

    async def create(self, frame: CreateFrame) -> Started:
        await self._services.rates.admit(self._caller.client)
        history = self._history.lane(frame.stream_id)
        fields = dict(frame.body)
        generates = fields.pop("generate", True)
        try:
            if not isinstance(generates, bool):
                raise TwowireError(Fault.INVALID_TYPE, "generate must be true or false.", param="generate")
            body = request_from_object(self._api.request, fields | {"stream": True})
            service = self._services.generation
            start = service.start if generates else service.prepare_only
            stream: ResponseStream = await start(self._api, body, self._caller, CHANNEL_TRANSPORT, history=history)
        except TwowireError:
            # The client did not ask for an automatic one, and may continue the response itself.
            if not (isinstance(frame, SuccessorFrame) and frame.is_automatic):
                await history.forget(fields.get("previous_response_id"))
            raise
        return Started(stream)

    def _labelled(self, kind: str, stream_id: str | None, event_id: str | None) -> dict[str, Any]:
        return super()._labelled(CREATE if kind == "chat.completion.create" else kind, stream_id, event_id)

    def close(self) -> None:
        """Forget the connection's responses."""
        self._history.close()
