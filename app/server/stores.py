"""Opens what several servers, or the API servers of one, share."""

from __future__ import annotations

from dataclasses import dataclass

from app.config.settings import Settings
from app.relay.held import Held, line_bytes
from app.relay.leader import LeaderStore
from app.server.workers import ApiServer
from app.stores.base import Store
from app.stores.open import open_store
from app.stores.responses.base import CONVERSATION_BYTES, MEMORY, ResponseStore
from app.stores.responses.open import open_responses
from app.stores.responses.shared import SharedResponses
from app.stores.shared import SharedStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of one process."""

    store: Store
    responses: ResponseStore
    held: Held | None
    """What the other API servers ask this one for."""
    used: tuple[Store, ...]
    """Those to start and to close."""


def open_stores(settings: Settings, one_of: ApiServer | None) -> Stores:
    """What the options name. Where that is memory, it is that of the first of several API servers.

    Raises `StoreOptionError`, `StoreError`.
    """
    if one_of is None or one_of.place.is_leader:
        store = open_store(settings.store)
        responses = open_responses(settings.responses, store, of_several=one_of is not None)
        held = None if one_of is None else Held(store, responses, settings.responses)
        return Stores(store, responses, held, (store,))
    first = SharedStore(LeaderStore(one_of.relays[0].path, line_bytes(settings.responses)), "API server 0")
    store = open_store(settings.store) if settings.store.is_shared else first
    if settings.responses.store == MEMORY:
        responses = SharedResponses(first, settings.responses, max_conversation_bytes=CONVERSATION_BYTES)
        return Stores(store, responses, None, tuple({store, first}))
    return Stores(store, open_responses(settings.responses, store), None, (store,))
