"""What the routes share, made once per app and handed to them: no globals.

Does not know any route.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.embedder_choice import no_embedder
from app.generation.api import APIS, GenerationApi
from app.generation.coalesce import Pace
from app.generation.models import ServedModels
from app.generation.replay_store import ReplayStore, ResumeLimits
from app.generation.service import GenerationService
from app.limits.connections import Connections
from app.limits.deadlines import DeadlineLimits
from app.limits.parser import ParserThread
from app.limits.rate_limits import RateLimits
from app.observability.access_log import AccessLog
from app.observability.metrics import Metrics
from app.observability.multiprocess import Figures, Siblings
from app.observability.traces import Traces, start_traces
from app.security.api_keys import KeyRing
from app.security.hosts import HostCheck
from app.security.origins import OriginCheck
from app.security.tickets import Tickets
from app.server.workers import ApiServer
from app.stores.memory import MemoryStore
from engine.api import EngineConfig
from engine.embeddings.manager import Embedder
from engine.manager import AdmissionLimits, EngineManager
from engine.registry import GUIDE

if TYPE_CHECKING:
    from app.config.load import Settings


QUIET_PATHS = frozenset({"/health", "/livez", "/metrics"})
"""Polled every few seconds: their log lines are for debugging only."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may need."""

    settings: Settings
    manager: EngineManager
    metrics: Metrics
    keys: KeyRing
    hosts: HostCheck
    origins: OriginCheck
    models: ServedModels
    deadlines: DeadlineLimits
    generation: GenerationService
    replays: ReplayStore
    tickets: Tickets
    connections: Connections
    rates: RateLimits
    embedder: Embedder
    access: AccessLog
    traces: Traces | None
    parser: ParserThread = field(default_factory=ParserThread)
    siblings: Siblings | None = None
    """The other API servers, where there are several."""
    apis: tuple[GenerationApi[Any], ...] = APIS
    """The APIs that generate."""


def make_services(
    settings: Settings,
    manager: EngineManager,
    embedder: Embedder | None = None,
    one_of: ApiServer | None = None,
) -> Services:
    """Wire the shared parts for `settings`; without an embedder there are no embeddings.

    `one_of`: which of several API servers this is.
    """
    embedder = embedder or no_embedder("it was started without them")
    store = MemoryStore()
    replays = ReplayStore(
        store,
        ResumeLimits(
            grace_max_s=settings.resume_grace_max_s,
            log_max_bytes=settings.resume_log_max_bytes,
            logs_max_bytes=settings.resume_logs_max_bytes,
            # As with the embedder's queue: one of several keys may have half of it.
            owner_max_bytes=settings.resume_logs_max_bytes // 2 if len(settings.api_keys) > 1 else None,
            keep_finished_s=settings.resume_keep_finished_s,
        ),
    )
    models = ServedModels(served_names(settings), embedder)
    deadlines = DeadlineLimits(settings.first_token_timeout_s, settings.request_timeout_s)
    connections = Connections(settings.ws_max_connections, settings.ws_max_connections_per_key)
    manager.on_drain += [connections.drain, embedder.begin_drain]
    rates = RateLimits(store, settings.requests_per_minute, settings.tokens_per_minute)
    metrics = Metrics(manager, embedder)
    metrics.gauge("websockets", "WebSocket connections.", connections.__len__)
    metrics.gauge("resume_logs", "Replay buffers of resumable generations.", replays.__len__)
    metrics.gauge("resume_log_bytes", "Bytes of chunks in those buffers.", lambda: replays.bytes)
    metrics.on_ended.append(rates.ended)
    pace = Pace(settings.coalesce_ms / 1000) if settings.coalesce_ms else None
    traces = start_traces(settings.otlp_endpoint)
    keys = KeyRing(key.get_secret_value() for key in settings.api_keys)
    return Services(
        settings=settings,
        manager=manager,
        metrics=metrics,
        keys=keys,
        hosts=HostCheck(
            only_loopback=not keys and settings.is_loopback,
            allowed=settings.allowed_hosts,
            is_open=bool(keys) or settings.allow_unauthenticated,
        ),
        origins=OriginCheck(settings.cors_origins),
        models=models,
        deadlines=deadlines,
        generation=GenerationService(manager, models, deadlines, rates, metrics, replays, pace),
        replays=replays,
        tickets=Tickets(store),
        connections=connections,
        rates=rates,
        embedder=embedder,
        access=AccessLog(metrics, QUIET_PATHS, traces),
        traces=traces,
        siblings=_siblings(one_of, manager, metrics) if one_of else None,
    )


def _siblings(one_of: ApiServer, manager: EngineManager, metrics: Metrics) -> Siblings:
    def own() -> Figures:
        return Figures(manager.told_at, metrics.exposition().decode())

    return Siblings(one_of.place.index, one_of.figures, own)


def admission_limits(settings: Settings) -> AdmissionLimits:
    """The places in the engine. Unless told otherwise, no one of several keys can hold all of them: another key's first
    request would wait until one of the first key's answers is done, however soon its turn comes."""
    places, per_key = settings.max_num_seqs, settings.max_running_per_key
    if per_key is None and len(settings.api_keys) > 1:
        per_key = max(1, places - max(1, places // 8))
    return AdmissionLimits(places, settings.max_queued, per_key)


def served_names(settings: Settings) -> tuple[str, ...]:
    """The names under which the model is served: those that were set, else its folder's or hub's own."""
    if settings.served_model_name:
        return tuple(settings.served_model_name)
    return (Path(settings.model or GUIDE).name,)


def engine_config(settings: Settings) -> EngineConfig:
    """The engine's part of the settings."""
    return EngineConfig(
        model=settings.model or str(GUIDE),
        served_model_name=served_names(settings),
        chat_template=settings.chat_template,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        tensor_parallel_size=settings.tensor_parallel_size,
        dtype=settings.dtype,
        enable_prefix_caching=settings.enable_prefix_caching,
        enforce_eager=settings.enforce_eager,
        cpu_kv_cache_gib=settings.cpu_kv_cache_gib,
        allowed_template_kwargs=tuple(settings.allowed_template_kwargs),
        grammar_compile_timeout_s=settings.grammar_compile_timeout_s,
        grammar_memory_mib=settings.grammar_memory_mib,
        extra=settings.engine_args,
    )
