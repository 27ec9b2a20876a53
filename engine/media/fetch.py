"""Fetches images over HTTP, from hosts that the operator has named and from no private address.

What a client writes decides where this server connects, so every way around the list is closed: one parser reads the
URL for the check and for the connection; names are resolved here, and the connection goes to the very address that was
checked; redirects are refused; no proxy, cookie or credential is used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from engine.media.addresses import AllowedAddresses
from engine.media.limits import MediaLimits
from protocol.errors import Fault, TwowireError
from protocol.images import ImageSource
from protocol.validation.request import quoted

MAX_FETCHES = 64
"""Images that are fetched at a time; further ones wait, within their request's time."""
CHUNK_BYTES = 64 * 1024

Resolve = Callable[[str, int], Awaitable[list[ResolveResult]]]


class ForbiddenAddressError(OSError):
    """The host has no address that may be connected to."""


class CheckedResolver(AbstractResolver):
    """Resolves a name to those of its addresses that may be connected to."""

    def __init__(self, allowed: AllowedAddresses, resolve: Resolve | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The checked addresses. Raises `OSError`."""
        if self._resolve is not None:
            found = await self._resolve(host, port)
        else:
            found = await aiohttp.ThreadedResolver().resolve(host, port, family)
        allowed = [one for one in found if self._allowed.allow(one["host"])]
        if not allowed:
            raise ForbiddenAddressError("not a public address")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""


class Allowance:
    """How many bytes the images of one request may still have."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._left = limit

    def take(self, count: int, param: str) -> None:
        """Raise `TwowireError` if that is more than is left."""
        self._left -= count
        if self._left < 0:
            message = f"{param}: the images of a request may have at most {self.limit} bytes together."
            raise TwowireError(Fault.IMAGE_TOO_LARGE, message, param=param)


class Fetcher:
    """Fetches images. Made for one event loop; holds nothing until the first image."""

    def __init__(self, limits: MediaLimits, resolve: Resolve | None = None) -> None:
        self._domains = frozenset(limits.domains)
        self._allowed = AllowedAddresses(limits.private_networks)
        self._resolve = resolve
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(MAX_FETCHES)

    def check(self, source: ImageSource) -> URL:
        """The URL of an image, which may be fetched as far as can be seen without connecting. Raises `TwowireError`."""
        if not self._domains:
            raise _refusal(source, "this server fetches no images; send the image itself, as a data: URL")
        try:
            url = URL(source.url)
            host, port = (url.host or "").lower(), url.port
        except ValueError:
            raise _refusal(source, "it is not a URL") from None
        if url.scheme not in ("http", "https") or not host:
            raise _refusal(source, "it is not an http or https URL with a host")
        if url.user is not None or url.password is not None:
            raise _refusal(source, "it must not hold a user or a password")
        named = f"[{host}]" if ":" in host else host
        if not (f"{named}:{port}" in self._domains or (named in self._domains and url.is_default_port())):
            raise _refusal(source, f"{quoted(named)} is not a host that this server fetches images from")
        if _is_numeric(host) and not self._allowed.allow(host):
            raise _refusal(source, "its address is not public")
        return url

    async def fetch(self, source: ImageSource, allowance: Allowance) -> bytes:
        """The file of an image. Raises `TwowireError`."""
        url = self.check(source)
        async with self._slots:
            try:
                return await self._get(url, source, allowance)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _refusal(source, _reason(error)) from error

    async def _get(self, url: URL, source: ImageSource, allowance: Allowance) -> bytes:
        chunks: list[bytes] = []
        async with self._open().get(url, allow_redirects=False) as response:
            if 300 <= response.status < 400:
                raise _refusal(source, "its host redirects, which is not followed; send the address it leads to")
            if response.status != 200:
                raise _refusal(source, f"its host answers with status {response.status}")
            if (length := response.content_length) is not None and length > allowance.limit:
                allowance.take(length, source.param)
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                allowance.take(len(chunk), source.param)
                chunks.append(chunk)
        return b"".join(chunks)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=CheckedResolver(self._allowed, self._resolve),
                use_dns_cache=False,
                force_close=True,
                limit=MAX_FETCHES,
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),  # The caller's deadline is for all images together.
                cookie_jar=aiohttp.DummyCookieJar(),
                # A small answer could be inflated to a huge one.
                auto_decompress=False,
                headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "twowire"},
                trust_env=False,
            )
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        """The last check, of the address that is connected to."""
        family, kind, protocol, _, target = address
        if not self._allowed.allow(str(target[0])):
            raise ForbiddenAddressError("not a public address")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Break off what is being fetched."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _is_numeric(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _reason(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ForbiddenAddressError):
        return "its host has no public address"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host is not known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "its host's certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "its host cannot be reached"
    return "its host broke off, or does not speak HTTP"


def _refusal(source: ImageSource, because: str) -> TwowireError:
    message = f"{source.param}: the image cannot be fetched: {because}."
    return TwowireError(Fault.INVALID_IMAGE_URL, message, param=source.param)
