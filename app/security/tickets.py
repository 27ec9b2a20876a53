"""Tickets: a browser cannot send a header with a WebSocket handshake, so it exchanges its API key for a ticket first.

A ticket opens one socket, expires soon, and is valid only for the key and the Origin it was issued to. It is signed
with a secret that follows from the key, so that every server with that key can check it; servers with one store, and
API servers of one server, accept each other's tickets. The store only records which tickets have been used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Callable

from app.security.api_keys import KeyRing
from app.stores.base import Store
from protocol.errors import Fault, TwowireError

LIFETIME_S = 30
NONCE_BYTES = 16
SIGNATURE_BYTES = 25
"""Of the 32 that HMAC-SHA-256 makes (RFC 2104, section 5: at least half); so the whole needs no padding in base64."""

_CLAIMS = struct.Struct(f"!Q8s{NONCE_BYTES}s")
"""When it expires, in milliseconds since 1970; a digest of the origin; a nonce."""


class Tickets:
    """Issues tickets and redeems them, each once."""

    def __init__(self, store: Store, keys: KeyRing, clock: Callable[[], float] = time.time, *, place: str) -> None:
        """`place`: what all processes with this store have in common, and no other; nothing if all servers have it.

        A process with another store does not know whether a ticket has been used here.
        """
        self._store = store
        self._keys = keys
        self._clock = clock
        self._place = place.encode()

    def issue(self, owner: str | None, origin: str | None) -> str:
        """A new ticket. (A server without keys issues tickets, too, but needs none.)"""
        expires_ms = round((self._clock() + LIFETIME_S) * 1000)
        claims = _CLAIMS.pack(expires_ms, _origin_digest(origin), secrets.token_bytes(NONCE_BYTES))
        secret = self._keys.ticket_secrets.get(owner or "") or secrets.token_bytes(NONCE_BYTES)
        return base64.urlsafe_b64encode(claims + self._signature(secret, claims)).decode()

    async def redeem(self, ticket: str, origin: str | None) -> str | None:
        """The ticket's owner. It is used up even if it is refused for its origin.

        Raises `TwowireError` (401). The error does not reveal whether the ticket is unknown, used, expired or someone
        else's.
        """
        try:
            decoded = base64.b64decode(ticket.encode("latin-1", "replace"), b"-_", validate=True)
        except binascii.Error:
            raise _refusal() from None
        claims, signature = decoded[: _CLAIMS.size], decoded[_CLAIMS.size :]
        owner = self._signer(claims, signature) if len(signature) == SIGNATURE_BYTES else None
        if owner is None:
            raise _refusal()
        expires_ms, origin_digest, nonce = _CLAIMS.unpack(claims)
        left_s = expires_ms / 1000 - self._clock()
        # The record of its use outlives the ticket, on servers whose clocks differ a little, too.
        if left_s <= 0 or not await self._store.claim(f"ticket:{nonce.hex()}", 2 * LIFETIME_S):
            raise _refusal()
        if origin_digest != _origin_digest(origin):
            raise _refusal()
        return owner

    def _signer(self, claims: bytes, signature: bytes) -> str | None:
        """Whose ticket it is. Compared with all, so that timing does not reveal how far the search came."""
        found = None
        for owner, secret in self._keys.ticket_secrets.items():
            if hmac.compare_digest(self._signature(secret, claims), signature):
                found = owner
        return found

    def _signature(self, secret: bytes, claims: bytes) -> bytes:
        return hmac.digest(secret, self._place + claims, "sha256")[:SIGNATURE_BYTES]


def _origin_digest(origin: str | None) -> bytes:
    text = b"" if origin is None else b"\0" + origin.encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).digest()[:8]


def _refusal() -> TwowireError:
    return TwowireError(Fault.INVALID_API_KEY, "The ticket is unknown, used, expired, or for another origin.")
