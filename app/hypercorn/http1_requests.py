"""Reads HTTP/1.1 requests and refuses malformed ones: fixes for hypercorn 0.18 and h11 0.16.

Does not know the app, but for the shape of its errors.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import h11
import h11._readers
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

from app.hypercorn.config import header_timeout_s
from protocol.errors import Fault, TwowireError, error_bytes

_EMPTY_LINES = re.compile(rb"(?:\r?\n)+")


class _Connection(h11.Connection):
    """h11's connection, which also says why it refused the client's bytes."""

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


def skip_empty_lines() -> None:
    """Empty lines before a request are skipped; h11 refuses them.

    A connection on which nothing else comes is an idle one.
    Test: `tests/app/hypercorn/test_http1_requests.py::test_empty_lines_before_a_request_are_skipped`.
    """
    initialise = H11Protocol.__init__

    def __init__(self: H11Protocol, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        limit = self.config.h11_max_incomplete_size
        self.connection = _Connection(h11.SERVER, max_incomplete_event_size=limit)

    H11Protocol.__init__ = __init__  # type: ignore[method-assign]


def let_the_app_miss_the_host() -> None:
    """An HTTP/1.1 request without a Host header reaches the application, with an empty one.

    RFC 9112, section 3.2, requires a 400. The application sends it to all but load balancers' probes; h11 would send
    it to those, too. Test: `tests/app/hypercorn/test_http1_requests.py::test_a_probe_needs_no_host`.
    """
    h11._readers.Request = _request  # type: ignore[assignment,attr-defined]  # the name that its reader looks up


def _request(*, headers: list[tuple[bytes, bytes]], **parts: Any) -> h11.Request:
    try:
        return h11.Request(headers=headers, **parts)
    except h11.LocalProtocolError as error:
        if not str(error).startswith("Missing mandatory Host"):
            raise
        return h11.Request(headers=[*headers, (b"Host", b"")], **parts)


def refuse_odd_targets() -> None:
    """Refuse CONNECT, and a target that is neither a path nor a URL: this is not a proxy (RFC 9112, section 3.2).

    hypercorn hands them on, and the application fails, or takes half of a host for a path.
    Test: `tests/app/hypercorn/test_http1_requests.py::test_odd_targets_are_refused`.
    """
    create = H11Protocol._create_stream

    async def _create_stream(self: H11Protocol, request: h11.Request) -> None:
        status = None if request.target.startswith(b"/") else _refusal(request)
        if status is None:
            await create(self, request)
        else:
            await self._send_error_response(status)
            await self.send(Closed())

    H11Protocol._create_stream = _create_stream  # type: ignore[method-assign]


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


def tell_what_is_malformed() -> None:
    """A refusal before there is a request has an error object, like any other.

    hypercorn answers with an empty body.
    Test: `tests/app/hypercorn/test_http1_requests.py::test_what_is_malformed_gets_an_error_object`.
    """

    async def _send_error_response(self: H11Protocol, status_code: int) -> None:
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

    H11Protocol._send_error_response = _send_error_response  # type: ignore[method-assign]


def refusal_of(status: int, problem: str, config: Config) -> TwowireError:
    """The error for a request that is refused with `status` before it has a route. `problem` is h11's word for it."""
    match status:
        case 408:
            return TwowireError(
                Fault.REQUEST_TIMEOUT, f"The headers did not come within {header_timeout_s(config):g} seconds."
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
    # After the colon come the client's own bytes.
    reason = problem.partition(":")[0]
    return TwowireError(
        Fault.MALFORMED_REQUEST, f"This is not a well-formed HTTP request{f': {reason}' if reason else ''}."
    )
