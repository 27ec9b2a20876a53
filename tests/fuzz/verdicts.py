"""Judges what a server sent on a hostile connection: which statuses, and what it must never send.

Does no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import hpack
import jsonschema

from tests.fuzz.connections import Played
from tests.fuzz.requests import MADE

# A line break cannot stand in JSON, so that no text of an answer looks like this.
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n")
_CODE = re.compile(rb'"code": ?"([a-z_]+)"')
CODE_WITHIN = 1000
"""Bytes of a body in which an error's code is looked for."""

CLIENTS_FAULTS = frozenset({501, 505})
"""Statuses above 499 that are about the request: a method or a coding, and a version, that nobody serves."""
BUSY_CODES = frozenset({b"queue_full", b"too_many_connections"})
"""Documented with 503: the server has its limits, and a fuzzer reaches them."""
SERVERS_FAULTS = (b'"code":"internal_error"', b'"code":"engine_died"', b'"code":"engine_not_ready"')
"""Never in an answer, on any wire. With the key, because /metrics names the codes of earlier failures."""

HEADERS, GOAWAY, CONTINUATION = 1, 7, 9
INTERNAL_ERROR = 2
CLOSE, SERVER_FAULT = 8, 1011


def statuses(played: Played) -> list[int]:
    """Every status that the server sent, on HTTP/1.1 or HTTP/2."""
    return [status for status, _ in _answers(bytes(played.received))]


def complaints(kind: str, played: Played) -> list[str]:
    """What the server should not have done on a connection of this kind."""
    received = bytes(played.received)
    found = [f"the answer says {fault.decode()}" for fault in SERVERS_FAULTS if fault in received]
    for status, code in _answers(received):
        if status >= 500 and status not in CLIENTS_FAULTS and not (status == 503 and code in BUSY_CODES):
            found.append(f"status {status} {code.decode()}")
    if played.has_hung:
        found.append("it hung")
    if kind == "http2":
        found += _of_goaway(received)
    if kind == "websocket" and received.startswith(b"HTTP/1.1 101"):
        found += _of_close(received, is_closed_early=played.is_closed_early)
    if kind in MADE:
        found += _of_schema(b"".join(played.sent), received)
    return list(dict.fromkeys(found))


def _answers(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Status and error code of each answer; the code is empty where there is none."""
    if received[:4] != b"HTTP":
        yield from _http2_answers(received)
        return
    for head in _HEAD.finditer(received):
        code = _CODE.search(received, head.end(), head.end() + CODE_WITHIN)
        yield int(head[1]), code[1] if code else b""


# -- HTTP/2 ------------------------------------------------------------------------------------------------------------


def _frames(received: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and payload of each whole frame (RFC 9113, section 4.1)."""
    at = 0
    while at + 9 <= len(received):
        size = int.from_bytes(received[at : at + 3], "big")
        payload = received[at + 9 : at + 9 + size]
        if len(payload) == size:
            yield received[at + 3], received[at + 4], payload
        at += 9 + size


def _http2_answers(received: bytes) -> Iterator[tuple[int, bytes]]:
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    # As large as the fuzzer's SETTINGS may have allowed it.
    decoder.max_allowed_table_size = 1 << 32
    block = b""
    codes = _CODE.findall(received)
    for kind, flags, payload in _frames(received):
        if kind not in (HEADERS, CONTINUATION):
            continue
        block += payload
        if flags & 4:
            for name, value in decoder.decode(block, raw=True):
                if name == b":status":
                    # Which stream an error's body is of is not looked at: all codes must be harmless.
                    yield int(value), next((code for code in codes if code not in BUSY_CODES), (codes or [b""])[0])
            block = b""


def _of_goaway(received: bytes) -> list[str]:
    for kind, _, payload in _frames(received):
        if kind == GOAWAY and int.from_bytes(payload[4:8], "big") == INTERNAL_ERROR:
            return ["GOAWAY with INTERNAL_ERROR"]
    return []


# -- WebSocket ---------------------------------------------------------------------------------------------------------


def _of_close(received: bytes, *, is_closed_early: bool) -> list[str]:
    """The server ends a WebSocket with a close frame (RFC 6455, section 7.1.1); for a client's fault not with 1011."""
    close = None
    at = received.index(b"\r\n\r\n") + 4
    while at + 2 <= len(received):
        opcode, size = received[at] & 15, received[at + 1] & 127
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(received[at : at + width], "big")
            at += width
        if opcode == CLOSE:
            close = received[at : at + size]
        at += size
    if close is None:
        return ["no close frame"] if is_closed_early else []
    # The client's own code comes back to it as it is, and its reason with it; the server's reasons begin so.
    is_ours = int.from_bytes(close[:2], "big") == SERVER_FAULT and close[2:].startswith(b"the ")
    return [f"closed with {SERVER_FAULT}: {close[2:].decode()}"] if is_ours else []


# -- JSON schemas ------------------------------------------------------------------------------------------------------


def _of_schema(sent: bytes, received: bytes) -> list[str]:
    """A schema is followed, or refused: a whole answer is what it allows."""
    head, _, raw = received.partition(b"\r\n\r\n")
    try:
        schema = json.loads(sent.partition(b"\r\n\r\n")[2])["response_format"]["json_schema"]["schema"]
    except (ValueError, LookupError, TypeError):
        return []
    if not head.startswith(b"HTTP/1.1 200") or b"application/json" not in head:
        return []
    found = []
    for choice in json.loads(raw)["choices"]:
        if choice["finish_reason"] != "stop":
            continue
        try:
            told = json.loads(choice["message"]["content"])
        except ValueError:
            found.append("the answer to a schema is no JSON")
            continue
        if not _allows(schema, told):
            found.append("the answer is not what its schema allows")
    return found


def _allows(schema: Any, told: Any) -> bool:
    try:
        jsonschema.Draft202012Validator(schema).validate(told)
    except jsonschema.ValidationError:
        return False
    except Exception:
        return True  # A schema, or a pattern, that the validator does not understand.
    return True
