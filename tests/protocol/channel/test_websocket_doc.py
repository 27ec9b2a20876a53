"""Every message, number and code in `docs/websocket.md` is the code's own."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from app.channel import limits as channel_limits
from app.channel import session as channel
from app.config.channel import ChannelLimits, ResumeLimits
from app.config.options import OPTIONS, flag_name
from app.security.tickets import LIFETIME_S
from protocol.channel import client_frames, server_frames
from protocol.errors import Fault, TwowireError
from protocol.output import Status, Usage
from twowire_client.restored_connection import FINAL_CLOSE_CODES

TEXT = (Path(__file__).parents[3] / "docs" / "websocket.md").read_text("utf-8")
CLIENT, _, SERVER = TEXT.partition("### From the client\n")[2].partition("### From the server\n")
FENCE = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAULTS = {fault.code: fault for fault in Fault}
SERVER_KINDS = {
    "connection.ready",
    "chat.completion.created",
    "chat.completion.chunk",
    "chat.completion.done",
    "chat.completion.resumed",
    "chat.completion.prefilled",
    "server.stats",
    "error",
    "ping",
    "pong",
}


def messages(section: str) -> list[Any]:
    return [found for block in FENCE.findall(section) if "type" in (found := json.loads(block))]


def sections(text: str) -> dict[str, str]:
    """The parts below each heading of the fourth level."""
    parts = re.split(r"^#### (.+)$", re.split(r"^##? ", text, flags=re.MULTILINE)[0], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(name: str) -> list[list[str]]:
    """The rows between a pair of markers, without the head."""
    block = TEXT.partition(f"<!-- {name}:begin -->\n")[2].partition(f"\n<!-- {name}:end -->")[0]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in block.splitlines()]
    assert len(rows) > 2, name
    return rows[2:]


def fields_told(section: str) -> set[str]:
    """The names in the first column of a section's table."""
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def built(message: dict[str, Any]) -> bytes:
    """What the server's builder makes of the values in an example."""
    ids = (message.get("stream_id"), message.get("event_id"))
    match message:
        case {"type": "connection.ready"}:
            return server_frames.ready(message["connection_id"], asdict(ChannelLimits()))
        case {"type": "chat.completion.created", "stream_id": stream_id}:
            return server_frames.created(
                stream_id,
                ids[1],
                message["id"],
                message.get("resume_token"),
                message.get("rate_limits", ()),
                message.get("follow_token"),
            )
        case {"type": "chat.completion.resumed", "stream_id": stream_id}:
            return server_frames.resumed(stream_id, ids[1], message["first_seq"], message["last_seq"])
        case {"type": "chat.completion.chunk", "stream_id": stream_id}:
            head = server_frames.chunk_head(stream_id)
            return server_frames.chunk(head, message["seq"], orjson.dumps(message["data"]))
        case {"type": "chat.completion.done" | "chat.completion.prefilled" as kind, "usage": told}:
            cached = told["prompt_tokens_details"]["cached_tokens"]
            usage = Usage(told["prompt_tokens"], told["completion_tokens"], cached)
            if kind == "chat.completion.prefilled":
                return server_frames.prefilled(ids[1], message["status"], usage)
            return server_frames.done(message["stream_id"], message["seq"], message["status"], usage)
        case {"type": "server.stats", "streams": streams, **figures}:
            return server_frames.stats(figures, streams)
        case {"type": "error", "error": told}:
            fault = FAULTS[told["code"]]
            retry_after_s = message.get("retry_after_s")
            error = TwowireError(fault, told["message"], param=told["param"], retry_after_s=retry_after_s)
            return server_frames.error(error, *ids)
        case {"type": "ping" | "pong" as kind, "t": t}:
            return server_frames.ping(t) if kind == "ping" else server_frames.pong(t)
    raise AssertionError(f"no builder makes {message}")


@pytest.mark.parametrize("message", messages(CLIENT), ids=lambda message: message["type"])
def test_the_clients_messages_are_understood(message: dict[str, Any]) -> None:
    frame = client_frames.parse_frame(json.dumps(message))
    kept = frame.model_dump(exclude_none=True)
    ignored = {"t"} if message["type"] == "pong" else set()
    assert kept == {name: value for name, value in message.items() if name not in ignored}


@pytest.mark.parametrize("message", messages(SERVER), ids=lambda message: message["type"])
def test_the_servers_messages_are_those_that_are_built(message: dict[str, Any]) -> None:
    assert built(message) == orjson.dumps(message), "the same members, in the same order"


def test_every_kind_of_message_has_an_example_below_its_heading() -> None:
    assert {message["type"] for message in messages(CLIENT)} == set(client_frames._KINDS)
    assert {message["type"] for message in messages(SERVER)} == SERVER_KINDS
    for section in (CLIENT, SERVER):
        for heading, part in sections(section).items():
            assert {message["type"] for message in messages(part)} == set(heading.split(", "))


def test_every_field_is_told_below_its_message() -> None:
    for heading, part in sections(CLIENT).items():
        told = fields_told(part)
        fields = set(client_frames._KINDS[heading].model_fields) - {"type"}
        if heading != "pong":
            assert {name for name in told if "." not in name} == fields, heading
    assert "resume.grace_s" in fields_told(sections(CLIENT)["chat.completion.create"])
    for heading, part in sections(SERVER).items():
        for message in messages(part):
            if heading != "ping, pong":
                assert fields_told(part) == message.keys() - {"type"}, heading


def test_the_limits_are_the_defaults_and_the_options_exist() -> None:
    rows = {row[0]: row for row in table("limits")}
    assert rows.keys() == asdict(ChannelLimits()).keys()
    for name, default in asdict(ChannelLimits()).items():
        _, told, option, _ = rows[name]
        setting = option.removeprefix("--").replace("-", "_")
        assert setting in (f"ws_{name}", name)
        assert float(told) == default == OPTIONS[setting].default, name


def test_the_servers_limits_are_the_defaults() -> None:
    rows = table("server-limits")
    told = {row[2]: float(row[1]) for row in rows}
    names = ["ws_max_connections", "ws_max_connections_per_key", "resume_keep_finished_s"]
    names += ["resume_log_max_bytes", "resume_logs_max_bytes"]
    assert told == {flag_name(name): OPTIONS[name].default for name in names}
    limits = ResumeLimits()
    assert (limits.keep_finished_s, limits.log_max_bytes, limits.logs_max_bytes) == tuple(told.values())[2:]


def test_the_close_codes_are_those_of_the_code() -> None:
    used = {value for name, value in vars(channel_limits).items() if name.isupper() and isinstance(value, int)}
    rows = table("close-codes")
    assert {int(row[0]) for row in rows} == used | {1000, 1002, 1007, 1009}
    for row in rows:
        comes_back = row[2].startswith("Connect again")
        assert comes_back != (int(row[0]) in FINAL_CLOSE_CODES | {1000}), row


def test_the_codes_of_errors_exist_with_their_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ((?:`\w+`(?:, )?)+) \|", TEXT, re.MULTILINE)
    told = {code: int(status) for status, codes in rows for code in re.findall(r"\w+", codes)}
    assert len(told) >= 15
    assert told == {code: FAULTS[code].status for code in told}
    spans = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", TEXT))
    channels_own = {"forbidden_origin", "unknown_subprotocol", "stream_not_found", "completion_not_found"}
    channels_own |= {"taken_over", "chunks_gone", "connection_too_old", "too_many_streams", "too_many_connections"}
    assert channels_own <= spans & FAULTS.keys()


def test_the_numbers_in_the_prose_are_those_of_the_code() -> None:
    def numbers(pattern: str) -> list[int]:
        found = re.findall(pattern, TEXT)
        assert found, pattern
        return [int(number.replace(" ", "")) for number in found]

    assert numbers(r'"expires_in": (\d+)') == [LIFETIME_S]
    assert numbers(r"at (\d+) unread answers") == [channel.MAX_ANSWERS]
    assert numbers(r"above 0, up to (\d+)\. The server's own") == [
        next(m.le for m in client_frames.ResumeOptions.model_fields["grace_s"].metadata if hasattr(m, "le"))
    ]
    assert f"`{client_frames.SUBPROTOCOL}`" in TEXT
    assert client_frames.TICKET_PREFIX in TEXT
    assert set(get_args(Status)) <= set(re.findall(r"`(\w+)`", sections(SERVER)["chat.completion.done"]))
