"""API keys: which ones are accepted, and how a request presents one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence

from protocol.errors import Fault, TwowireError

HOW = "send one header «Authorization: Bearer KEY»"


class KeyRing:
    """The accepted keys. Holds only digests, so no log, dump or repr can show a key."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.replace(keys)

    def replace(self, keys: Iterable[str]) -> None:
        """Accept these keys from now on, and no others."""
        encoded = [key.encode() for key in keys]
        self._digests = [_digest(key) for key in encoded]
        self.ticket_secrets: Mapping[str, bytes] = {
            _digest(key).hex(): hmac.digest(key, b"twowire ticket", "sha256") for key in encoded
        }
        """What each owner's tickets are signed with: every server with the same keys has the same."""

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: Sequence[str], api_keys: Sequence[str] = ()) -> str | None:
        """The owner: the hex digest of the key in `authorization` or in `api_keys`.

        They hold all the request's `Authorization` and `x-api-key` headers; the latter is Anthropic's. Some of its
        clients send both, one with another server's key, so one known key is enough.

        None if the server has no keys. Raises `TwowireError` (401) unless there is at most one header of each name,
        with a valid key in one of them. A key is compared with every digest, in constant time, so that timing reveals
        neither which one it resembles nor how much of it.
        """
        if not self._digests:
            return None
        for name, headers in (("Authorization", authorization), ("x-api-key", api_keys)):
            if len(headers) > 1:
                raise _unauthorized(f"More than one {name} header was given: {HOW}.")
        if api_keys and (owner := self._owner(api_keys[0])) is not None:
            return owner
        if not authorization:
            raise _unauthorized("The API key is not known here." if api_keys else f"No API key was given: {HOW}.")
        scheme, _, key = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _unauthorized("The Authorization header must be «Bearer KEY».")
        if (owner := self._owner(key)) is None:
            raise _unauthorized("The API key is not known here.")
        return owner

    def _owner(self, key: str) -> str | None:
        # The server decodes header bytes as latin-1; this restores the bytes that were sent.
        given = _digest(key.strip().encode("latin-1", errors="replace"))
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return given.hex() if any(matches) else None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _unauthorized(message: str) -> TwowireError:
    return TwowireError(Fault.INVALID_API_KEY, message)
