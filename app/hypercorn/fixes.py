"""Puts subclasses of hypercorn 0.18's classes in their place, each made of fixes that can be left out.

hypercorn looks its classes up by name, in its modules, when it creates their instances. `install` gives those names to
the classes below. Of a class's bases, the first is the outermost: its methods are called first.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import version
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import h11
import h11._readers as h11_readers
from hypercorn import protocol
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.protocol import ProtocolWrapper, ws_stream
from hypercorn.protocol import h2 as http2_module
from hypercorn.protocol import h11 as http1_module
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import Handshake, WSStream

from app.hypercorn.connection import ContainCrashes, KeepCancelledWrites, LimitConnections
from app.hypercorn.fast_write import NameStream
from app.hypercorn.http1 import (
    AnnounceClose,
    CloseAfterTwoLengths,
    IgnoreH2cUpgrade,
    JoinConnectionHeaders,
    LimitHeaderTime,
    ReadWhileResponding,
)
from app.hypercorn.http1_requests import ExplainRefusals, RefuseBadTargets, SkipEmptyLines, allow_missing_host
from app.hypercorn.http2 import (
    BoundStreamBuffer,
    DiscardLateBodies,
    EndStuckStreams,
    GoIdleAfterResets,
    IgnorePriorities,
    RefuseBadRequests,
    ResetUnfinishedResponses,
)
from app.hypercorn.http2_limits import BoundHeadersAndSettings, GoIdleFromPreface, LimitFrames
from app.hypercorn.idle import NoIdleTasks
from app.hypercorn.plain.requests import ShortenRequests
from app.hypercorn.plain.responses import ShortenResponses
from app.hypercorn.send_timeout import CutStuckReaders
from app.hypercorn.shutdown import CloseListenersAtOnce, CutCancelledConnections
from app.hypercorn.websocket import (
    CloseWithCode,
    DropUnreadMessages,
    HoldEarlyFrames,
    LetAppCheckHandshake,
    RefuseExtensions,
)
from app.hypercorn.write_buffer import GatherWrites

VERSION = "0.18."
"""What the fixes are written for: a prefix of hypercorn's version."""


class Connection(
    LimitConnections,
    ContainCrashes,
    CutCancelledConnections,
    NoIdleTasks,
    KeepCancelledWrites,
    CutStuckReaders,
    GatherWrites,
    TCPServer,
):
    """One TCP connection."""


class Http1Protocol(
    LimitHeaderTime,
    ReadWhileResponding,
    IgnoreH2cUpgrade,
    AnnounceClose,
    ShortenRequests,
    ShortenResponses,
    JoinConnectionHeaders,
    CloseAfterTwoLengths,
    ExplainRefusals,
    RefuseBadTargets,
    SkipEmptyLines,
    H11Protocol,
):
    """HTTP/1.1 on one connection."""


class Http2Protocol(
    LimitFrames,
    BoundHeadersAndSettings,
    GoIdleFromPreface,
    GoIdleAfterResets,
    IgnorePriorities,
    RefuseBadRequests,
    DiscardLateBodies,
    ResetUnfinishedResponses,
    EndStuckStreams,
    H2Protocol,
):
    """HTTP/2 on one connection."""


class Http2Buffer(BoundStreamBuffer, StreamBuffer):
    """What waits to be sent on one HTTP/2 stream."""


class HttpStream(NameStream, HTTPStream):
    """One request and its response."""


class WebSocketStream(DropUnreadMessages, HoldEarlyFrames, CloseWithCode, NameStream, WSStream):
    """One WebSocket."""


class WebSocketHandshake(RefuseExtensions, LetAppCheckHandshake, Handshake):
    """The opening handshake of a WebSocket."""


class IncompatibleHypercorn(Exception):
    """The fixes cannot be installed; the message says why."""


class Place(NamedTuple):
    """A name in a module, under which `user` looks up `theirs`; `ours` takes its place."""

    module: ModuleType
    name: str
    theirs: Any
    ours: Any
    user: Callable[..., Any]


PLACES = (
    Place(run, "TCPServer", TCPServer, Connection, run.worker_serve),
    Place(protocol, "H11Protocol", H11Protocol, Http1Protocol, ProtocolWrapper),
    Place(protocol, "H2Protocol", H2Protocol, Http2Protocol, ProtocolWrapper),
    Place(http1_module, "HTTPStream", HTTPStream, HttpStream, H11Protocol),
    Place(http1_module, "WSStream", WSStream, WebSocketStream, H11Protocol),
    Place(http2_module, "HTTPStream", HTTPStream, HttpStream, H2Protocol),
    Place(http2_module, "WSStream", WSStream, WebSocketStream, H2Protocol),
    Place(http2_module, "StreamBuffer", StreamBuffer, Http2Buffer, H2Protocol),
    Place(ws_stream, "Handshake", Handshake, WebSocketHandshake, WSStream),
    Place(h11_readers, "Request", h11.Request, allow_missing_host, h11_readers.maybe_read_from_IDLE_client),
    Place(run, "asyncio", run.asyncio, CloseListenersAtOnce(), run.worker_serve),  # type: ignore[attr-defined]  # which it imports
)

USED: dict[type, str] = {
    TCPServer: "_close _initiate_server_close _read_data config context idle_task protocol protocol_send reader "
    "run state writer",
    H11Protocol: "_check_protocol _close_stream _create_stream _handle_events _send_error_response _send_h11_event "
    "app can_read client config connection connection_state context handle keep_alive_requests send server ssl stream "
    "stream_send task_group",
    H2Protocol: "_close_stream _create_stream _flush _handle_events _priority_updated _window_updated closed config "
    "connection handle idle initiate send stream_buffers stream_send streams task_group",
    StreamBuffer: "_complete buffer close complete drain pop push",
    HTTPStream: "app_put closed handle send state stream_id",
    WSStream: "_handle_events _send_wsproto_event app_put app_send buffer closed connection handle handshake send "
    "state stream_id",
    Handshake: "accepted extensions is_valid subprotocols",
}
"""The methods and attributes of hypercorn that the fixes override or use, most of which are private."""


def install(*, without: Collection[str] = ()) -> None:
    """Put the fixed classes in hypercorn's place, for all servers that this process starts from now on.

    Does nothing if they are there already. `without` names fixes to leave out, which tests do. Raises
    IncompatibleHypercorn where they do not fit the installed hypercorn, and ValueError for an unknown name.
    """
    if is_installed():
        return
    check()
    if unknown := set(without) - set(names_of_fixes()):
        raise ValueError(f"unknown fixes: {', '.join(sorted(unknown))}")
    for place in PLACES:
        ours = place.ours
        if isinstance(ours, type):
            kept = tuple(base for base in ours.__bases__ if base.__name__ not in without)
            if kept != ours.__bases__:
                ours = type(ours.__name__, kept, {})
        elif _name(ours) in without:
            continue
        setattr(place.module, place.name, ours)


def uninstall() -> None:
    """Give hypercorn its own classes back; connections that are open keep theirs."""
    for place in PLACES:
        setattr(place.module, place.name, place.theirs)


def is_installed() -> bool:
    """Whether any of the places is taken by a class of ours, with all fixes or without some."""
    return any(getattr(place.module, place.name) is not place.theirs for place in PLACES)


def names_of_fixes() -> Iterator[str]:
    """The names of all fixes."""
    for place in PLACES:
        if isinstance(place.ours, type):
            yield from (base.__name__ for base in place.ours.__bases__ if base is not place.theirs)
        else:
            yield _name(place.ours)


def _name(ours: Any) -> str:
    """The name of a fix that is a function, or an instance of its class."""
    return ours.__name__ if isinstance(ours, FunctionType) else type(ours).__name__


def check() -> None:
    """Raise IncompatibleHypercorn unless this is the hypercorn that the fixes are written for."""
    found = version("hypercorn")
    if not found.startswith(VERSION):
        raise IncompatibleHypercorn(f"twowire needs hypercorn {VERSION}*, and {found} is installed.")
    missing = [
        f"{place.module.__name__}.{place.name}"
        for place in PLACES
        if "LOAD_GLOBAL" not in _instructions(place.user, place.name)
    ]
    for kind, names in USED.items():
        missing += [
            f"{kind.__name__}.{name}"
            for name in names.split()
            if not hasattr(kind, name) and "STORE_ATTR" not in _instructions(kind, name)
        ]
    if missing:
        raise IncompatibleHypercorn(f"This hypercorn {found} lacks what twowire relies on: {', '.join(missing)}.")


def _instructions(user: Any, name: str) -> set[str]:
    """What a function, or the methods of a class, do with `name`: the names of Python's instructions."""
    functions = [user] if isinstance(user, FunctionType) else vars(user).values()
    codes = [function.__code__ for function in functions if isinstance(function, FunctionType)]
    found: set[str] = set()
    while codes:
        code = codes.pop()
        if name in code.co_names:
            found.update(step.opname for step in dis.get_instructions(code) if step.argval == name)
        codes += [nested for nested in code.co_consts if isinstance(nested, CodeType)]
    return found
