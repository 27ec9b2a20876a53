"""The one way in: every request to generate starts here, whichever API and connection it came by.

Model name, deadline, `EngineManager.prepare`, tokens from the rate limit, `EngineManager.run`: in this order. What
comes out is a stream to send, or a whole body. Nothing else calls the manager's `run`, nor its `prepare`, but for
`app.generation.truncation`.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
import weakref
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from app.config.connections import DeadlineLimits
from app.generation.api import GenerationApi
from app.generation.coalesce import Pace
from app.generation.kept_stream import Keep, KeptStream
from app.generation.models import ServedModels
from app.generation.prepared_stream import PreparedStream
from app.generation.replay.reader import ReplayReader
from app.generation.replay.store import ReplayStore
from app.generation.stream import LiveStream
from app.generation.truncation import prepare_truncated
from app.limits.rate_limits import RateLimits
from app.observability.metrics import Metrics
from app.observability.outcome import Wire
from app.security.caller import Caller
from app.stores.responses.base import ResponseStore
from app.stores.responses.history import History, StoredHistory
from engine.api import Prepared
from engine.generation import Generation
from engine.manager import EngineManager
from protocol.encoder import KeptEncoder
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest, prompt_only
from protocol.validation.request import ApiRequest

R = TypeVar("R", bound=ApiRequest)


class Transport(Protocol):
    """The connection that a response goes out on."""

    wire: Wire
    waits_for_first_step: bool
    """Whether to wait for the engine's first step, so that its refusal can be answered with a status of its own."""

    def note_model(self, name: str) -> None:
        """Record the model, which is known to be served."""

    async def adopt(self, generation: Generation) -> None:
        """Take charge of `generation`: close it when the request is over, however it ends.

        Raises `asyncio.CancelledError`, having closed it, if the request is over already.
        """


class GenerationService:
    """Admits requests and runs them."""

    def __init__(
        self,
        manager: EngineManager,
        models: ServedModels,
        deadlines: DeadlineLimits,
        rates: RateLimits,
        metrics: Metrics,
        replays: ReplayStore,
        responses: ResponseStore,
        pace: Pace | None = None,
        *,
        salts_keys: bool = False,
    ) -> None:
        """`pace`: that of all streams, if fast ones are to be coalesced. `salts_keys`: callers share no cached prompts,
        so that none can find out by the time to the first token what another has sent.
        """
        self._manager = manager
        self._models = models
        self._deadlines = deadlines
        self._rates = rates
        self._metrics = metrics
        self._replays = replays
        self._responses = responses
        self._pace = pace
        self._salts_keys = salts_keys
        self.kept: weakref.WeakValueDictionary[str, KeptStream] = weakref.WeakValueDictionary()
        """The streams whose responses will be kept, by id."""

    async def start(
        self,
        api: GenerationApi[R],
        request: R,
        caller: Caller,
        transport: Transport,
        *,
        timeout_s: float | None = None,
        grace_s: float | None = None,
        history: History | None = None,
    ) -> LiveStream | ReplayReader:
        """Start a stream. Its reader must leave it. Raises `TwowireError`, and then holds nothing.

        `timeout_s` is how long the client gives the request. With `grace_s`, a replay buffer keeps the stream for so
        many seconds after its connection is lost; with an infinite one, the stream needs no reader. `history` is what
        the response may continue and where it is kept: by default, the server's store.
        """
        adapter = self._check(api, request, transport)
        keep = await self._recall(api, request, caller, history)
        generation = await self._run(_wanted(api, request, adapter), caller, transport, timeout_s)
        try:
            answer_id = api.answer_id(generation.id)
            encoder = api.encoder(request, answer_id, int(time.time()))
            choices, pace = generation.sequences, self._pace
            stream = (
                LiveStream(answer_id, generation, encoder, choices, pace=pace)
                if keep is None
                else KeptStream(answer_id, generation, cast(KeptEncoder, encoder), choices, keep, pace=pace)
            )
            if isinstance(stream, KeptStream):
                self.kept[answer_id] = stream
            if grace_s == math.inf and isinstance(stream, KeptStream):
                await stream.keep()
            elif transport.waits_for_first_step:
                await stream.begin()
            return stream if grace_s is None else await self._replays.keep(stream, caller.owner, grace_s)
        except BaseException:
            await generation.close()
            raise

    async def prepare_only(
        self, api: GenerationApi[R], request: R, caller: Caller, transport: Transport, *, history: History | None = None
    ) -> PreparedStream:
        """Compute the prompt of a request, and keep its response, which has no output. Raises `TwowireError`.

        `api` is one whose responses are kept; `history` is as for `start`. The stream's reader must leave it.
        """
        adapter = self._check(api, request, transport)
        keep = await self._recall(api, request, caller, history)
        assert keep is not None
        generation = await self._run(_wanted(api, request, adapter), caller, transport, None)
        try:
            answer_id = api.answer_id(generation.id)
            encoder = api.encoder(request, answer_id, int(time.time()))
            return PreparedStream(answer_id, generation, cast(KeptEncoder, encoder), keep)
        except BaseException:
            await generation.close()
            raise

    async def prefill(self, api: GenerationApi[R], request: R, caller: Caller, transport: Transport) -> LiveStream:
        """Have a request's prompt read into the engine's cache; the stream has one token, to be dropped.

        Its reader must leave it. Raises `TwowireError`, also if others wait for the engine: they come first.
        """
        adapter = self._check(api, request, transport)
        await self._recall(api, request, caller, None)
        if self._manager.waiting:
            message = "Others wait for the engine, so nothing is read ahead now."
            raise TwowireError(Fault.QUEUE_FULL, message, retry_after_s=1)
        wanted = prompt_only(_wanted(api, request, adapter))
        generation = await self._run(wanted, caller, transport, None, keeps_half=True)
        try:
            answer_id = api.answer_id(generation.id)
            encoder = api.encoder(request, answer_id, int(time.time()))
            return LiveStream(answer_id, generation, encoder, generation.sequences)
        except BaseException:
            await generation.close()
            raise

    async def collect(
        self,
        api: GenerationApi[R],
        request: R,
        caller: Caller,
        transport: Transport,
        *,
        timeout_s: float | None = None,
        history: History | None = None,
    ) -> bytes:
        """Generate a whole body. `history` is as for `start`. Raises `TwowireError`."""
        adapter = self._check(api, request, transport)
        keep = await self._recall(api, request, caller, history)
        wanted = _wanted(api, request, adapter)
        generation = await self._run(wanted, caller, transport, timeout_s)
        async with generation:
            answer_id = api.answer_id(generation.id)
            collector = api.collector(request, answer_id, int(time.time()), generation.sequences)
            async for deltas in generation:
                collector.add(deltas)
        if wanted.sampling.logprobs is None and wanted.extras.prompt_logprobs is None:
            body = collector.body(generation.usage)
        else:
            # Log probabilities can make it tens of megabytes.
            body = await asyncio.to_thread(collector.body, generation.usage)
        if keep is not None:
            await keep(body)
        return body

    async def count(
        self,
        api: GenerationApi[Any],
        request: ApiRequest,
        wanted: GenerationRequest,
        transport: Transport,
        client: str,
    ) -> int:
        """The number of prompt tokens of a request of `client` to `api`, from one rendering, without the engine.

        Raises `TwowireError`.
        """
        self._check(api, request, transport)
        async with self._deadlines.starting_now(None).limit():
            return await self._manager.count(wanted, client)

    def _check(self, api: GenerationApi[R], request: R, transport: Transport) -> str | None:
        """Check the model's name. Returns it if it is an adapter's."""
        name = self._models.check(request.model, api.model_type)
        transport.note_model(name)
        if request.unknown_fields:
            self._metrics.unknown_fields.labels(api.path).inc(len(request.unknown_fields))
        return name if name in self._models.adapters else None

    async def _recall(self, api: GenerationApi[R], request: R, caller: Caller, history: History | None) -> Keep | None:
        """Add what the request continues. Returns how its response is kept, or None if the API keeps none."""
        if api.keeping is None:
            return None
        history = history or StoredHistory(self._responses, caller.owner)
        await api.keeping.recall(request, history)
        return partial(history.keep, input_items=api.keeping.input_items(request))

    async def _prepare(self, request: GenerationRequest, caller: Caller) -> Prepared:
        if self._salts_keys:
            salt = cache_salt(caller, request.extras.cache_salt)
            request = replace(request, extras=replace(request.extras, cache_salt=salt))
        if request.may_truncate:
            return await prepare_truncated(self._manager, request, caller.client)
        return await self._manager.prepare(request, caller.client)

    async def _run(
        self,
        request: GenerationRequest,
        caller: Caller,
        transport: Transport,
        timeout_s: float | None,
        *,
        keeps_half: bool = False,
    ) -> Generation:
        """Prepare, reserve, run. The transport is in charge of what is returned. `keeps_half`: see `RateLimits`."""
        deadlines = self._deadlines.starting_now(timeout_s)
        async with deadlines.limit():
            prepared = await self._prepare(request, caller)
        await self._rates.reserve(caller.client, prepared.prompt_tokens, keeps_half=keeps_half)
        try:
            generation = await self._manager.run(
                prepared,
                self._metrics.wires[transport.wire],
                caller.owner,
                client=caller.client,
                deadlines=deadlines,
            )
        except BaseException:
            await self._rates.spend(caller.client, -prepared.prompt_tokens)
            raise
        self._rates.follow(caller.client, generation)
        await transport.adopt(generation)
        return generation


def cache_salt(caller: Caller, asked: str | None) -> str:
    """The salt of one caller's prompts; `asked` is the one that its request has."""
    parts = f"{caller.client}\n{asked or ''}".encode()
    return hashlib.blake2b(parts, digest_size=16).hexdigest()


def _wanted(api: GenerationApi[R], request: R, adapter: str | None) -> GenerationRequest:
    wanted = api.generation_request(request)
    return wanted if adapter is None else replace(wanted, adapter=adapter)
