"""HTTP/1.1 requests: how they are parsed and refused. Fixes for hypercorn 0.18's `H11Protocol` and for h11 0.16.

Each class is one fix and changes nothing else. `install` puts them together.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import h11
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

from app.hypercorn.config import header_timeout_s
from protocol.errors import Fault, TwowireError, error_bytes

_EMPTY_LINES = re.compile(rb"(?:\r?\n)+")


class _Connection(h11.Connection):
    """h11's connection, which skips empty lines and keeps the reason why it refused a request."""

    problem = ""

    def next_event(self) -> Any:
        """h11's next event. Raises `h11.RemoteProtocolError`."""
        # Some clients send a CRLF after the previous body; RFC 9112, section 2.2, allows for that.
        if self.their_state is h11.IDLE and self._receive_buffer._data.startswith((b"\r", b"\n")):
            if empty := _EMPTY_LINES.match(self._receive_buffer._data):
                self._receive_buffer.maybe_extract_at_most(empty.end())
            if self._receive_buffer._data == b"\r":
                return h11.NEED_DATA
        try:
            return super().next_event()
        except h11.RemoteProtocolError as error:
            self.problem = str(error)
            raise


class SkipEmptyLines(H11Protocol):
    """h11 0.16 refuses a request after empty lines; here they are skipped.

    A connection on which nothing else comes is idle.
    Test: `tests/app/hypercorn/test_http1_requests.py::test_empty_lines_before_a_request_are_skipped`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        limit = self.config.h11_max_incomplete_size
        self.connection = _Connection(h11.SERVER, max_incomplete_event_size=limit)


def allow_missing_host(*, headers: list[tuple[bytes, bytes]], **parts: Any) -> h11.Request:
    """h11 0.16 refuses an HTTP/1.1 request without a Host header; here the application gets it, with an empty one.

    RFC 9112, section 3.2, requires a 400. The application sends it, except to load balancers' probes, which h11 would
    refuse, too. Stands in for `Request` in h11's reader.
    Test: `tests/app/hypercorn/test_http1_requests.py::test_a_probe_needs_no_host`.
    """
    try:
        return h11.Request(headers=headers, **parts)
    except h11.LocalProtocolError as error:
        if not str(error).startswith("Missing mandatory Host"):
            raise
        return h11.Request(headers=[*headers, (b"Host", b"")], **parts)


class RefuseBadTargets(H11Protocol):
    """hypercorn 0.18 passes on CONNECT, and targets that are neither a path nor a URL; here they are refused.

    RFC 9112, section 3.2; this server is not a proxy. The application would fail, or take half of a host for a path.
    Test: `tests/app/hypercorn/test_http1_requests.py::test_odd_targets_are_refused`.
    """

    async def _create_stream(self, request: h11.Request) -> None:
        status = None if request.target.startswith(b"/") else _refusal(request)
        if status is None:
            await super()._create_stream(request)
        else:
            await self._send_error_response(status)
            await self.send(Closed())


def _refusal(request: h11.Request) -> int | None:
    """The status for a request whose target is not a path."""
    if request.method == b"CONNECT":
        return 501
    if request.target == b"*":
        return None
    try:
        url = urlsplit(request.target.decode("ascii"))
    except ValueError:
        return 400
    return None if url.scheme in ("http", "https") and url.netloc and url.path.startswith("/") else 400


class ExplainRefusals(H11Protocol):
    """hypercorn 0.18 refuses a malformed request with an empty body; here the body is an error object, as elsewhere.

    Test: `tests/app/hypercorn/test_http1_requests.py::test_what_is_malformed_gets_an_error_object`.
    """

    async def _send_error_response(self, status_code: int) -> None:
        problem = getattr(self.connection, "problem", "")
        body = error_bytes(refusal_of(status_code, problem, self.config))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if self.connection.our_state is h11.SEND_BODY:
            if self.connection._request_method != b"HEAD":
                await self._send_h11_event(h11.Data(data=body))
            await self._send_h11_event(h11.EndOfMessage())


def refusal_of(status: int, problem: str, config: Config) -> TwowireError:
    """The error for a request refused with `status` before it has a route; `problem` is h11's reason, or empty."""
    match status:
        case 408:
            return TwowireError(
                Fault.REQUEST_TIMEOUT, f"The headers did not arrive within {header_timeout_s(config):g} seconds."
            )
        case 431:
            return TwowireError(
                Fault.HEADERS_TOO_LARGE, f"Send at most {config.h11_max_incomplete_size} bytes of headers."
            )
        case 501:
            if "Transfer-Encoding" in problem:
                return TwowireError(Fault.NOT_IMPLEMENTED, "Send at most one Transfer-Encoding, «chunked».")
            return TwowireError(Fault.NOT_IMPLEMENTED, "This server is not a proxy: it does not support CONNECT.")
    if "Host:" in problem:
        return TwowireError(Fault.INVALID_HOST, "Send one Host header.")
    # The client's own bytes follow the colon.
    reason = problem.partition(":")[0]
    return TwowireError(
        Fault.MALFORMED_REQUEST, f"This is not a well-formed HTTP request{f': {reason}' if reason else ''}."
    )
