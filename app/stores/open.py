"""Opens the store that the options name."""

from __future__ import annotations

from app.stores.base import Store, StoreOptions
from app.stores.memory import MemoryStore
from app.stores.shared import SharedStore


class StoreOptionError(Exception):
    """The store cannot be used as it is named; the message is one line, without the password."""


def open_shared(options: StoreOptions) -> SharedStore | None:
    """The store that other servers use as well, if one is named. Raises `StoreOptionError`."""
    if not options.is_shared:
        return None
    from app.stores.redis import RedisStore

    try:
        return SharedStore(RedisStore(options), options.shown)
    except ImportError as error:
        raise StoreOptionError("redis-py is not installed; install the extra twowire[redis]") from error
    except (ValueError, TypeError) as error:
        raise StoreOptionError(f"the URL has an argument that redis-py does not take: {error}") from error


def open_store(options: StoreOptions) -> Store:
    """The store. Raises `StoreOptionError`."""
    shared = open_shared(options)
    return MemoryStore() if shared is None else shared
