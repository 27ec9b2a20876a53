"""Asks other servers for their generations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from app.generation.replay.elsewhere import Whereabouts, whereabouts_of
from app.generation.replay.reader import ReplayReader
from app.generation.replay.store import not_found
from app.relay.messages import BUFFER_BYTES, MAX_LINE_BYTES, Message, decoded_error, proof, receive, send
from app.relay.remote import RemoteBuffer
from app.stores.base import Store
from protocol.errors import TwowireError

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT_S = 20.0
"""How long another server may take to begin its answer."""
ADDRESS_LASTS_S = 60.0
ANNOUNCE_EVERY_S = 15.0
MAX_KNOWN = 1000


class Peers:
    """Implements `app.generation.replay.elsewhere.Elsewhere`: the other API servers, and other servers by the store."""

    def __init__(
        self, here: Whereabouts, siblings: Sequence[Path], store: Store, secret: bytes | None, address: str | None
    ) -> None:
        """`siblings`: the sockets of this server's API servers, by number. `address`: this server's own, for others.

        Without a secret, other servers are not asked.
        """
        self._here = here
        self._siblings = siblings
        self._store = store
        self._secret = secret
        self._address = address
        self._known: dict[str, bytes] = {}
        """Addresses of other servers, for when the store does not answer."""

    def has(self, answer_id: str) -> bool:
        place = whereabouts_of(answer_id)
        if place is None or place == self._here:
            return False
        return place.number < len(self._siblings) if place.server == self._here.server else self._secret is not None

    async def announce(self) -> None:
        """Tell other servers this server's address, by the store. Never returns."""
        while self._address is not None:
            await self._store.put(_key(self._here.server), self._address.encode(), ttl_s=ADDRESS_LASTS_S)
            await asyncio.sleep(ANNOUNCE_EVERY_S)

    async def read(self, how: str, answer_id: str, owner: str | None, token: str, starting_after: int) -> ReplayReader:
        request = {"op": how, "id": answer_id, "owner": owner, "token": token, "after": starting_after}
        streams, answer = await self._ask(answer_id, request)
        return RemoteBuffer(answer_id, answer["opened"], starting_after, streams, is_follower=how != "resume").reader

    async def ask(self, operation: str, answer_id: str, owner: str | None) -> Any:
        try:
            (_, writer), answer = await self._ask(answer_id, {"op": operation, "id": answer_id, "owner": owner})
        except TwowireError:
            return None
        writer.close()
        return answer["done"]

    async def _ask(
        self, answer_id: str, request: Message
    ) -> tuple[tuple[asyncio.StreamReader, asyncio.StreamWriter], Message]:
        """Send a request to the server that has the generation. Raises `TwowireError`: what it answers, or 404."""
        place = whereabouts_of(answer_id)
        assert place is not None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await self._connect(place)
                try:
                    answer = await self._answer(place, request, reader, writer)
                    error = decoded_error(answer["error"]) if "error" in answer else None
                except BaseException:
                    writer.close()
                    raise
        except (OSError, ValueError, KeyError, TimeoutError) as failure:
            log.warning("relay_unreachable", id=answer_id, error=repr(failure))
            raise not_found() from failure
        if error is not None:
            writer.close()
            raise error
        return (reader, writer), answer

    async def _connect(self, place: Whereabouts) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if place.server == self._here.server:
            return await asyncio.open_unix_connection(self._siblings[place.number], limit=BUFFER_BYTES)
        address = await self._store.get(_key(place.server)) or self._known.get(place.server)
        if address is None:
            raise ConnectionError("that server has no address in the store")
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[place.server] = address
        host, _, port = address.decode().rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=BUFFER_BYTES)

    async def _answer(
        self, place: Whereabouts, request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Message:
        """What is answered to a request. Raises `OSError`, `ValueError`, `KeyError`."""
        if place.server != self._here.server:
            if self._secret is None:
                raise ConnectionError("there is no TWOWIRE_RELAY_SECRET")
            challenge = await receive(reader, MAX_LINE_BYTES)
            if challenge is None:
                raise ConnectionError("it was closed")
            request |= {"proof": proof(self._secret, challenge["challenge"], request)}
        await send(writer, request)
        answer = await receive(reader, MAX_LINE_BYTES)
        if answer is None:
            raise ConnectionError("it was closed")
        if "refused" in answer:
            raise ConnectionError("that server has another TWOWIRE_RELAY_SECRET")
        return answer


def _key(server: str) -> str:
    return f"relay:{server}"
