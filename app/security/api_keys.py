"""API keys: which ones are accepted, and how a request presents one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from protocol.errors import Fault, TwowireError


class KeyRing:
    """The accepted keys. Holds only digests, so no log, dump or repr can show a key."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: Sequence[str]) -> str | None:
        """The owner: the hex digest of the key in `authorization`, all the request's headers of that name.

        None if the server has no keys. Raises `TwowireError` (401) unless there is exactly one header with a valid key.
        The key is compared with every digest, in constant time, so that timing reveals neither which one it resembles
        nor how much of it.
        """
        if not self._digests:
            return None
        if len(authorization) != 1:
            given = "No API key was given" if not authorization else "More than one Authorization header was given"
            raise _unauthorized(f"{given}: send one header «Authorization: Bearer KEY».")
        scheme, _, key = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _unauthorized("The Authorization header must be «Bearer KEY».")
        # The server decodes header bytes as latin-1; this restores the bytes that were sent.
        given_digest = _digest(key.strip().encode("latin-1", errors="replace"))
        matches = [hmac.compare_digest(given_digest, digest) for digest in self._digests]
        if not any(matches):
            raise _unauthorized("The API key is not known here.")
        return given_digest.hex()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _unauthorized(message: str) -> TwowireError:
    return TwowireError(Fault.INVALID_API_KEY, message)
