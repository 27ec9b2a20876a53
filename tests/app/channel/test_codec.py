"""A session with the frames of another wire protocol: one that says nothing but chunks and errors."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from app.config.channel import ChannelLimits
from protocol.channel.client_frames import CancelFrame, ClientFrame, CreateFrame, FrameRefused
from protocol.channel.codec import FrameCodec
from protocol.encoder import Event
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.app.channel.channels import BODY, Clock, open_harness, until


class TerseCodec(FrameCodec):
    """`{"go": lane, …the body…}` starts a stream, `{"stop": lane}` cancels it; chunks come as they are, labelled."""

    def decode(self, message: str | bytes | None) -> ClientFrame:
        asked = orjson.loads(message or "{}")
        if "go" in asked:
            lane = asked.pop("go")
            return CreateFrame(type="chat.completion.create", stream_id=lane, body=asked)
        if "stop" in asked:
            return CancelFrame(type="chat.completion.cancel", stream_id=asked["stop"])
        raise FrameRefused(TwowireError(Fault.INVALID_VALUE, "go or stop"))

    def chunk_head(self, stream_id: str) -> bytes:
        return b'{"lane":"%b","number":' % stream_id.encode()

    def chunk(self, head: bytes, seq: int, data: bytes) -> bytes:
        return b"%b%d,%b" % (head, seq, data[1:])

    def text_frame(self, stream_id: str, text_template: tuple[bytes, bytes]) -> tuple[bytes, bytes, bytes]:
        before, after = text_template
        return self.chunk_head(stream_id), b"," + before[1:], after

    def failed(self, fault: TwowireError, events: Sequence[Event], stream_id: str, event_id: str | None) -> list[bytes]:
        return [b'{"lane":"%b","broken":%b}' % (stream_id.encode(), event) for event in events]

    def error(
        self,
        fault: TwowireError,
        stream_id: str | None = None,
        event_id: str | None = None,
        body: bytes | None = None,
    ) -> bytes:
        return orjson.dumps({"lane": stream_id, "wrong": fault.message})


TERSE: FrameCodec = TerseCodec()


async def test_a_session_speaks_the_frames_of_its_codec() -> None:
    async with open_harness() as harness:
        peer = harness.peer(codec=TERSE)
        await peer.say(BODY | {"go": "a"})
        await until(lambda: harness.streams)
        harness.streams[0].feed(Delta(0, "x", 1))
        await until(lambda: len(peer.frames) == 2)
        opening, chunk = peer.frames
        assert (chunk["lane"], chunk["number"], chunk["choices"][0]["delta"]) == ("a", 2, {"content": "x"})
        assert (opening["number"], opening["object"]) == (1, "chat.completion.chunk")
        await peer.say({"stop": "a"})
        await until(lambda: not peer.channel.stream_count)
        assert harness.streams[0].cancelled
        assert len(peer.frames) == 2, "there is no frame for the end"
        await peer.say({"stop": "a"})
        await until(lambda: len(peer.frames) == 3)
        assert peer.frames[2] == {"lane": None, "wrong": "No stream with that id is running."}


async def test_a_codec_without_pings_sends_none_and_the_silence_still_ends_the_session() -> None:
    async with open_harness() as harness:
        clock, limits = Clock(), ChannelLimits(ping_interval_s=0.004, idle_timeout_s=0.5)
        peer = harness.peer(limits, clock=clock, codec=TERSE)
        clock.now += 0.3
        await peer.say({})
        clock.now += 0.6
        closing = await peer.channel.ended
        assert closing.code == 4408
        assert [sorted(frame) for frame in peer.frames] == [["lane", "wrong"]]
