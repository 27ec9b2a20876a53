"""Steering on a connection of OpenAI's WebSocket protocol: input for a response that is being made.

The response ends where it is, and another one goes on from it with the input. If it has called tools, it is completed,
and the input waits for the request that brings their outputs.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from app.channel.stream import ChannelStream
from app.generation.kept_stream import KeptStream
from protocol.channel.client_frames import CreateFrame
from protocol.channel.responses_codec import SteerFrame
from protocol.errors import TwowireError
from protocol.responses.steering import Item, required_outputs, steer_items, with_steered

MAX_PENDING = 16
"""Inputs of one connection that wait."""
REMEMBERED = 256
"""Ended responses of one connection whose ids are known."""

SteerFault = Literal[
    "response_not_found",
    "invalid_input",
    "steering_not_supported",
    "too_many_pending_steers",
    "response_already_completed",
    "response_not_active",
    "successor_creation_failed",
]
"""OpenAI's codes."""


class SteerRefusedError(Exception):
    """The input cannot be taken."""

    def __init__(self, code: SteerFault, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Steer:
    """An input that was accepted. `given` is what the client sent."""

    id: str
    response_id: str
    lane: str
    given: Any
    items: Sequence[Item]


class SuccessorFrame(CreateFrame):
    """Creates a response that goes on from another with steering input. `is_automatic`: the client has not sent it."""

    steers: list[Any]
    is_automatic: bool


class SuccessorStream(ChannelStream):
    """A response with steering input. If an automatic one cannot be created, the client did not ask for it."""

    def error_end(self, error: TwowireError) -> bytes | None:
        assert isinstance(self.frame, SuccessorFrame)
        return None if self.frame.is_automatic else super().error_end(error)


class Steering:
    """The inputs that wait, by the response that they are for."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Steer]] = {}
        self._told: set[str] = set()
        """The inputs that the client knows to be accepted."""
        self._ended: deque[str] = deque(maxlen=REMEMBERED)

    def accept(self, frame: SteerFrame, streams: Sequence[ChannelStream]) -> tuple[Steer, ChannelStream]:
        """Take the frame's input, and return it with the stream that it is for. Raises `SteerRefusedError`."""
        try:
            items = steer_items(frame.input)
        except TwowireError as error:
            raise SteerRefusedError("invalid_input", error.message) from None
        response_id = frame.previous_response_id
        stream = next((one for one in streams if one.response is not None and one.response.id == response_id), None)
        if stream is None and response_id in self._ended:
            message = "The response has ended; send the input in a response.create that continues it."
            raise SteerRefusedError("response_already_completed", message)
        if stream is None:
            raise SteerRefusedError("response_not_found", "No response of that id runs on this connection.")
        assert isinstance(stream.frame, CreateFrame)
        if not isinstance(stream.response, KeptStream) or stream.frame.body.get("conversation") is not None:
            message = "Responses of a conversation, and those that generate nothing, cannot be steered."
            raise SteerRefusedError("steering_not_supported", message)
        if sum(map(len, self._waiting.values())) >= MAX_PENDING:
            message = f"{MAX_PENDING} inputs wait on this connection; no more may."
            raise SteerRefusedError("too_many_pending_steers", message)
        steer = Steer(f"steer_{uuid.uuid4().hex}", response_id, stream.id, frame.input, items)
        self._waiting.setdefault(response_id, []).append(steer)
        return steer, stream

    def told(self, steer: Steer) -> None:
        """The client knows that the input was accepted."""
        self._told.add(steer.id)

    def ended(self, stream: ChannelStream) -> None:
        """A response has ended."""
        if stream.response is not None:
            self._ended.append(stream.response.id)

    def due(self, stream: ChannelStream) -> list[Steer]:
        """The inputs for a response that has ended, once the client knows of all; they do not wait any more."""
        steers = self._waiting.get(stream.response.id, []) if stream.response is not None else []
        if not all(steer.id in self._told for steer in steers):
            return []
        self._drop(steers)
        return steers

    def wait_for_outputs(self, steers: Sequence[Steer]) -> None:
        """Keep inputs until a request continues their response."""
        for steer in steers:
            self._waiting.setdefault(steer.response_id, []).append(steer)
            self._told.add(steer.id)

    def joined(self, frame: CreateFrame) -> CreateFrame:
        """A create of the client's, with the inputs that have waited for it."""
        body = frame.body
        waiting = self._waiting.get(str(body.get("previous_response_id")), [])
        steers = [steer for steer in waiting if steer.lane == frame.stream_id and steer.response_id in self._ended]
        if not steers:
            return frame
        self._drop(steers)
        items = [item for steer in steers for item in steer.items]
        return _successor(frame, body | {"input": with_steered(body.get("input"), items)}, steers, is_automatic=False)

    def _drop(self, steers: Sequence[Steer]) -> None:
        for steer in steers:
            self._waiting.pop(steer.response_id, None)
            self._told.discard(steer.id)


def required_by(stream: ChannelStream) -> list[Item]:
    """The outputs of calls without which a response that has ended cannot be continued.

    Raises `SteerRefusedError` for one that cannot be continued at all.
    """
    assert isinstance(stream.response, KeptStream)
    response = orjson.loads(stream.response.response)
    if response["status"] not in ("completed", "incomplete"):
        raise SteerRefusedError("response_not_active", f"The response is {response['status']}.")
    return required_outputs(response["output"])


def successor(stream: ChannelStream, steers: list[Steer]) -> SuccessorFrame:
    """The create that goes on from a response, with its settings."""
    frame = stream.frame
    assert isinstance(frame, CreateFrame)
    items = [item for steer in steers for item in steer.items]
    body = frame.body | {"previous_response_id": steers[0].response_id, "input": items}
    return _successor(frame, body, steers, is_automatic=True)


def _successor(frame: CreateFrame, body: dict[str, Any], steers: list[Steer], *, is_automatic: bool) -> SuccessorFrame:
    return SuccessorFrame.model_construct(
        type="chat.completion.create", stream_id=frame.stream_id, body=body, steers=steers, is_automatic=is_automatic
    )
