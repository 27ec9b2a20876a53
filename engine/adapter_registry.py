"""The adapters that are served, in whichever engine runs: loads, replaces and unloads them.

A request holds its adapter from its place in the queue to its end. One that is unloaded takes no new requests; when
the last one that holds it has ended, the engine forgets it and its files are removed. Until then it counts: vLLM would
otherwise drop another adapter in silence, read it again at its next request, and die if it could not.

Of several API servers, only the first makes changes; the others mirror it (`app.relay.adapters`).
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from engine.adapters.api import Adapter, AdapterEngine, AdapterError, check_name
from engine.adapters.base_model import base_model
from engine.adapters.config import AdapterConfig
from engine.adapters.files import copied
from engine.api import EngineStartError
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Mirrors(Protocol):
    """Other API servers that serve the same adapters, and have requests of their own."""

    async def publish(self) -> None:
        """Have them serve what `Adapters.by_name` has now; returns when they do."""

    def uses(self, adapter: Adapter) -> bool:
        """Whether one of them serves `adapter`, or has requests that need it."""


class Adapters:
    """`by_name` are those that new requests may ask for."""

    def __init__(self, config: AdapterConfig | None = None, model: str = "") -> None:
        """`model` is the base model's folder, or its name on the hub."""
        self.config = config or AdapterConfig()
        self.by_name: dict[str, Adapter] = {adapter.name: adapter for adapter in self.config.loaded}
        self._model = model
        self._next_id = itertools.count(1 + max([len(self.by_name), *_numbers_in(self.config.folder)]))
        self.mirrors: Mirrors | None = None
        """The others, where this is the first of several API servers."""
        self.is_mirror = False
        """This is one of the others."""
        self.on_released: Callable[[], None] | None = None
        """Called when the last request of an unloaded adapter has ended here, if this is a mirror."""
        self._is_known = asyncio.Event()
        """A mirror knows what to serve."""
        self._uses: Counter[int] = Counter()
        self._leaving: set[Adapter] = set()
        """Unloaded, but still in the engine."""
        self._engine: AdapterEngine | None = None
        self._loaded: set[int] = set()
        """The ids of those that this engine has."""
        self._has_started = False
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, engine: AdapterEngine) -> None:
        """Load all of them into a new engine, before it is ready.

        Raises `EngineStartError` at the first start. Later, one that fails is lost: the server goes on without it.
        """
        if self.is_mirror:
            await self._is_known.wait()
        async with self._lock:
            self._engine, self._loaded = None, set()
            tried: set[int] = set()
            # A mirror may be told of more meanwhile.
            while new := [adapter for adapter in self.known if adapter.id not in tried]:
                for adapter in new:
                    tried.add(adapter.id)
                    await self._load_again(engine, adapter)
            self._engine, self._has_started = engine, True
            await self._publish()

    async def _load_again(self, engine: AdapterEngine, adapter: Adapter) -> None:
        self._uses[adapter.id] += 1  # So that the first API server does not drop a mirror's meanwhile.
        try:
            await engine.load_adapter(adapter)
            self._loaded.add(adapter.id)
        except AdapterError as error:
            if not (self._has_started or self.is_mirror):
                raise EngineStartError(f"--lora: {adapter.name!r} cannot be loaded: {error}") from error
            log.error("adapter_lost", adapter=adapter.name, reason=str(error))
            if self.by_name.get(adapter.name) is adapter:
                del self.by_name[adapter.name]
        finally:
            self.release(adapter)

    # -- requests -----------------------------------------------------------------------------------------------

    def find(self, name: str) -> Adapter:
        """The adapter that is served as `name`. Raises `TwowireError` (404)."""
        adapter = self.by_name.get(name)
        if adapter is None:
            raise TwowireError(Fault.MODEL_NOT_FOUND, f"The model {name[:120]!r} is no longer served.", param="model")
        return adapter

    def hold(self, adapter: Adapter) -> None:
        """Note that a request needs `adapter` until `release`. Raises `TwowireError` (404) if it has been unloaded."""
        if self.by_name.get(adapter.name) is not adapter:
            message = f"The model {adapter.name!r} was unloaded or replaced just now."
            raise TwowireError(Fault.MODEL_NOT_FOUND, message, param="model")
        self._uses[adapter.id] += 1

    def check_loaded(self, adapter: Adapter) -> None:
        """Raise `TwowireError` (503) unless the engine has `adapter`, which a request holds.

        A request that has waited may meet another engine than it was prepared for.
        """
        if adapter.id not in self._loaded:
            raise TwowireError(Fault.ENGINE_DIED, f"The engine has lost the adapter {adapter.name!r}.", retry_after_s=5)

    def release(self, adapter: Adapter) -> None:
        """Note that a request has ended, in the engine, too."""
        self._uses[adapter.id] -= 1
        if self._uses[adapter.id] <= 0:
            del self._uses[adapter.id]
            if adapter in self._leaving:
                self._start(self._drop_unused(adapter))
            elif self.on_released is not None and self.by_name.get(adapter.name) is not adapter:
                self._loaded.discard(adapter.id)
                self.on_released()

    # -- several API servers ------------------------------------------------------------------------------------

    @property
    def known(self) -> list[Adapter]:
        """All that the engine may have."""
        return [*self.by_name.values(), *self._leaving]

    @property
    def used_ids(self) -> list[int]:
        """The ids of those that requests hold here."""
        return list(self._uses)

    def mirror(self, adapters: Sequence[Adapter]) -> None:
        """Serve these from now on, which the first API server has loaded."""
        wanted = {adapter.name: adapter for adapter in adapters}
        for name in [name for name, adapter in self.by_name.items() if wanted.get(name) != adapter]:
            del self.by_name[name]
        for name, adapter in wanted.items():
            self.by_name.setdefault(name, adapter)
        if self._engine is not None:
            self._loaded = {adapter.id for adapter in adapters} | (self._loaded & self._uses.keys())
        self._is_known.set()

    def lose_mirror(self) -> None:
        """Note that the first API server is gone, and the engine with it."""
        self._is_known.clear()

    def drop_unused(self) -> None:
        """Drop those that have been unloaded and that no API server needs any more."""
        for adapter in self._leaving:
            if not self._is_used(adapter):
                self._start(self._drop_unused(adapter))

    def _is_used(self, adapter: Adapter) -> bool:
        return bool(self._uses[adapter.id]) or (self.mirrors is not None and self.mirrors.uses(adapter))

    async def _publish(self) -> None:
        if self.mirrors is not None:
            await self.mirrors.publish()

    # -- changes ------------------------------------------------------------------------------------------------

    async def load(
        self, name: str, source: str, *, replaces: bool = False, is_taken: Callable[[str], bool] = lambda name: False
    ) -> Adapter:
        """Copy, check and load the adapter in the folder `source`, and serve it as `name`.

        `replaces`: instead of the one that has the name now, if any. `is_taken` tells names of other models. Goes on
        if the caller is cancelled. Raises `TwowireError` (400, 503), and then nothing has changed.
        """
        return await asyncio.shield(self._start(self._load(name, source, replaces, is_taken)))

    async def unload(self, name: str) -> None:
        """Serve it no more. Goes on if the caller is cancelled. Raises `TwowireError` (404)."""
        await asyncio.shield(self._start(self._unload(name)))

    async def _load(self, name: str, source: str, replaces: bool, is_taken: Callable[[str], bool]) -> Adapter:
        async with self._lock:
            engine = self._engine
            if engine is None:
                raise TwowireError(Fault.ENGINE_NOT_READY, "The engine is not ready yet.", retry_after_s=10)
            self._check_place(name, replaces, is_taken)
            number = next(self._next_id)
            adapter = await asyncio.to_thread(self._copied, name, number, source)
            try:
                await engine.load_adapter(adapter)
            except BaseException as error:
                await _remove_files(adapter)
                if isinstance(error, AdapterError):
                    raise _refused(f"The engine cannot load the adapter: {error}", "lora_path") from error
                raise
            previous = self.by_name.get(name)
            self.by_name[name] = adapter
            self._loaded.add(number)
            log.info("adapter_loaded", adapter=name, id=number, rank=adapter.rank)
            if previous is not None:
                self._leaving.add(previous)
            await self._publish()
            if previous is not None:
                await self._retire(previous)
            return adapter

    def _copied(self, name: str, number: int, source: str) -> Adapter:
        config = self.config
        assert config.folder is not None
        try:
            return copied(name, number, source, config.folder, config.rank, base_model(self._model))
        except AdapterError as error:
            raise _refused(f"The adapter cannot be loaded: {error}.", "lora_path") from error

    def _check_place(self, name: str, replaces: bool, is_taken: Callable[[str], bool]) -> None:
        try:
            check_name(name)
        except AdapterError as error:
            raise _refused(f"lora_name is invalid: {error}.", "lora_name") from error
        if name in self.by_name:
            if not replaces:
                raise _refused(f"The adapter {name!r} is loaded already; load_inplace true replaces it.", "lora_name")
        elif is_taken(name):
            raise _refused(f"The name {name!r} is another model's.", "lora_name")
        elif len(self.by_name) >= self.config.limit:
            raise _refused(
                f"{len(self.by_name)} adapters are loaded, and the server holds {self.config.limit} (--max-cpu-loras).",
                "lora_name",
            )
        if len(self.by_name) + len(self._leaving) >= self.config.places:
            raise _refused(
                f"{len(self._leaving)} unloaded adapters are still in use by requests, and with {len(self.by_name)} "
                f"others the server's {self.config.places} places are taken (--max-cpu-loras); try again later.",
                "lora_name",
            )

    async def _unload(self, name: str) -> None:
        async with self._lock:
            if name not in self.by_name:
                raise TwowireError(Fault.MODEL_NOT_FOUND, f"There is no adapter {name[:120]!r}.", param="lora_name")
            adapter = self.by_name.pop(name)
            log.info("adapter_unloaded", adapter=name, id=adapter.id, in_use=self._uses[adapter.id])
            self._leaving.add(adapter)
            await self._publish()
            await self._retire(adapter)

    async def _retire(self, adapter: Adapter) -> None:
        if adapter in self._leaving and not self._is_used(adapter):
            await self._drop(adapter)

    async def _drop_unused(self, adapter: Adapter) -> None:
        async with self._lock:
            await self._retire(adapter)

    async def _drop(self, adapter: Adapter) -> None:
        self._loaded.discard(adapter.id)
        if self._engine is not None:
            try:
                await self._engine.drop_adapter(adapter)
            except Exception as error:
                log.warning("adapter_not_dropped", adapter=adapter.name, reason=f"{type(error).__name__}: {error}")
        self._leaving.discard(adapter)
        # Those that were named at the start are loaded again by a new API server 0.
        if adapter not in self.config.loaded:
            await _remove_files(adapter)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _numbers_in(folder: Path | None) -> list[int]:
    """The ids of adapters that were loaded by an API server 0 before this one."""
    return [] if folder is None else [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


async def _remove_files(adapter: Adapter) -> None:
    await asyncio.to_thread(shutil.rmtree, adapter.folder, ignore_errors=True)


def _refused(message: str, param: str) -> TwowireError:
    return TwowireError(Fault.INVALID_ADAPTER, message, param=param)
