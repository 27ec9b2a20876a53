"""Builds what a server consists of, from its settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from app.config.settings import Settings
from app.generation.coalesce import Pace
from app.generation.models import ServedModels
from app.generation.replay.elsewhere import Whereabouts
from app.generation.replay.store import ReplayStore
from app.generation.service import GenerationService
from app.generation.table import apis_with
from app.limits.connections import Connections
from app.limits.rate_limits import RateLimits
from app.observability.access_log import AccessLog
from app.observability.load import LoadMonitor
from app.observability.metrics import Metrics
from app.observability.multiprocess import Figures, Siblings
from app.observability.traces import start_traces
from app.relay.adapters import ADAPTERS, AdapterFollower, AdapterLeader
from app.relay.listener import RelayListener
from app.relay.peers import Peers
from app.security.api_keys import KeyRing
from app.security.hosts import HostCheck
from app.security.origins import OriginCheck
from app.security.tickets import Tickets
from app.server.stores import open_stores
from app.server.workers import ApiServer
from app.services import Services
from app.stores.base import Store
from app.stores.responses.memory import MemoryResponses
from app.stores.shared import SharedStore
from app.version import installed_version
from engine.adapter_registry import Adapters
from engine.api import EngineStartError
from engine.embeddings.api import Kind
from engine.embeddings.manager import Embedder
from engine.manager import EngineManager
from engine.processes.output import Output
from engine.registry import bundled_embedding_model, embedder, is_installed, text_engine
from engine.speech.models import is_speech_model
from engine.startup.digest import engine_digest
from engine.startup.preflight import check_sentence_model

QUIET_PATHS = frozenset({"/health", "/livez", "/metrics"})
"""Polled every few seconds, so their log lines are for debugging only."""

MAX_PER_SOCKET = 256
"""How many responses created without `store` a WebSocket keeps."""

DEFAULT_EMBEDDING_MODEL = "all-MiniLM-L6-v2"
LIBRARY = "sentence_transformers"
HOW_TO_INSTALL = "install the extra twowire[embeddings]"


def build_services(settings: Settings, one_of: ApiServer | None = None, output: Output | None = None) -> Services:
    """The engine's manager and everything that the routes share. `one_of`: which of several API servers this is."""
    manager = EngineManager(
        text_engine(settings.engine, one_of.place if one_of else None, output),
        settings.admission,
        keepalive_s=settings.requests.keepalive_s,
        watchdog=settings.watchdog,
        has_worked=one_of is not None and one_of.life.is_replacement,
        adapters=adapters_of(settings),
        is_speech_model=is_speech_model(settings.engine.model),
    )
    return make_services(settings, manager, choose_embedder(settings), one_of)


def adapters_of(settings: Settings) -> Adapters:
    """The adapters that a server with these settings begins with."""
    return Adapters(settings.engine.adapters, settings.engine.model)


def make_services(
    settings: Settings,
    manager: EngineManager,
    embedder: Embedder | None = None,
    one_of: ApiServer | None = None,
) -> Services:
    """Everything that the routes share, around an engine's manager. Without an embedder there are no embeddings."""
    access, engine, coalesce_ms = settings.access, settings.engine, settings.connections.coalesce_ms
    embedder = embedder or no_embedder("it was started without them")
    stores = open_stores(settings, one_of)
    store, responses = stores.store, stores.responses
    replays = ReplayStore(settings.resume)
    here = one_of.server if one_of is not None else Whereabouts.new_server()
    manager.id_prefix = here.id_prefix
    peers = replays.elsewhere = make_peers(settings, here, store, one_of)
    connections = Connections(settings.channels, one_of.counts if one_of else None)
    manager.on_drain += [connections.drain, embedder.begin_drain]
    rates = RateLimits(store, settings.rates)
    models = ServedModels(
        engine.names,
        embedder,
        settings.names.aliases,
        manager.adapters.by_name,
        is_speech_model=lambda: manager.is_speech_model,
    )
    relay = RelayListener(replays, here, stores.held)
    adapters = _adapter_changes(settings, manager, models, relay, one_of)
    pace = Pace(coalesce_ms / 1000) if coalesce_ms else None
    metrics = Metrics(manager, embedder)
    metrics.gauge("websockets", "WebSocket connections.", connections.__len__)
    metrics.gauge("resume_logs", "Replay buffers of resumable generations.", replays.__len__)
    metrics.gauge("resume_log_bytes", "Bytes of chunks in those buffers.", lambda: replays.bytes)
    metrics.gauge("responses_kept", "Responses and conversations that are kept.", lambda: responses.totals[0])
    metrics.gauge("responses_kept_bytes", "Their bytes, as --responses-max-bytes counts.", lambda: responses.totals[1])
    if isinstance(store, SharedStore):
        metrics.gauge("store_up", "1 while the shared store answers, 0 while this process counts alone.", store.up)
        metrics.gauge("store_failures", "Calls of the shared store that failed.", lambda: store.failures)
    metrics.on_ended.append(rates.ended)
    if manager.adapters.config.is_enabled:
        metrics.count_by_model(models.names[0])
    traces = start_traces(settings.logging.otlp_endpoint)
    keys = KeyRing(access.keys())
    return Services(
        settings=settings,
        manager=manager,
        metrics=metrics,
        keys=keys,
        admin=KeyRing(access.admin_keys()),
        hosts=HostCheck(
            only_loopback=not keys and settings.listening.is_loopback,
            allowed=access.allowed_hosts,
            is_open=bool(keys) or access.allow_unauthenticated,
        ),
        origins=OriginCheck(access.cors_origins),
        models=models,
        deadlines=settings.deadlines,
        generation=GenerationService(
            *(manager, models, settings.deadlines, rates, metrics, replays, responses, pace),
            salts_keys=access.cache_salt_per_key,
        ),
        replays=replays,
        relay=relay,
        peers=peers,
        adapters=adapters,
        responses=responses,
        socket_responses=MemoryResponses(dataclasses.replace(settings.responses, max_per_key=MAX_PER_SOCKET)),
        stores=stores.used,
        tickets=Tickets(store, keys, place="" if settings.store.is_shared else here.server),
        connections=connections,
        rates=rates,
        embedder=embedder,
        load=LoadMonitor(manager),
        access=AccessLog(metrics, QUIET_PATHS, traces),
        traces=traces,
        apis=apis_with(settings.responses.hosted_tools),
        siblings=_siblings(one_of, manager, metrics) if one_of else None,
        engine_digest=engine_digest(engine, installed_version()) if engine.ranks.has_followers else None,
    )


def _adapter_changes(
    settings: Settings, manager: EngineManager, models: ServedModels, relay: RelayListener, one_of: ApiServer | None
) -> AdapterLeader | AdapterFollower:
    """What loads and unloads adapters. Without an admin key, each API server keeps those of the start."""
    if one_of is not None and not one_of.place.is_leader and settings.access.admin_keys():
        return AdapterFollower(manager.adapters, one_of.relays[0].path)
    leader = AdapterLeader(manager.adapters, lambda name: name in models.types)
    if one_of is not None:
        relay.served[ADAPTERS] = leader.serve
    return leader


def make_peers(settings: Settings, here: Whereabouts, store: Store, one_of: ApiServer | None) -> Peers:
    """How this server asks the others for their generations."""
    secret = settings.relay.secret
    return Peers(
        here,
        [meeting.path for meeting in one_of.relays] if one_of is not None else [],
        store,
        None if secret is None else secret.get_secret_value().encode(),
        settings.relay.shown_address,
    )


def _siblings(one_of: ApiServer, manager: EngineManager, metrics: Metrics) -> Siblings:
    def own() -> Figures:
        return Figures(manager.told_at, metrics.exposition().decode())

    return Siblings(one_of.place.index, one_of.figures, own)


def no_embedder(because: str) -> Embedder:
    """An embedder that serves nothing, and says why."""
    return Embedder(None, {}, 2, off_because=because)


def choose_embedder(settings: Settings) -> Embedder:
    """The embedder for `settings`; one that serves nothing if embeddings are switched off or not installed.

    Raises `EngineStartError` if models were named that cannot be served.
    """
    options = settings.embeddings
    models, rerankers = options.models, options.rerankers
    named = bool(models or rerankers)
    if not options.embeddings:
        return no_embedder("embeddings are switched off (--no-embeddings)")
    if not is_installed(LIBRARY):
        if named:
            raise EngineStartError(f"--embedding-model: sentence-transformers is not installed; {HOW_TO_INSTALL}")
        return no_embedder(f"sentence-transformers is not installed; {HOW_TO_INSTALL}")
    _check_models(settings)
    if not models:
        bundled = bundled_embedding_model()
        if bundled is None and not named:
            return no_embedder(f"no --embedding-model is given, and the default one is not installed; {HOW_TO_INSTALL}")
        others = (*settings.engine.names, *settings.adapters.named(), *rerankers)
        if bundled is not None and DEFAULT_EMBEDDING_MODEL not in others:
            models[DEFAULT_EMBEDDING_MODEL] = str(bundled)
    _check_names(settings, models)
    kinds: dict[str, Kind] = dict.fromkeys(models, "embedding")
    kinds.update(dict.fromkeys(rerankers, "reranker"))
    truncations = options.truncations
    return Embedder(
        embedder(dataclasses.replace(settings.embedder, models=models, rerankers=rerankers)),
        kinds,
        options.embedding_max_queued,
        truncated={name for name in models if truncations.get(name, truncations.get("", False))},
        takes_any_ids=options.embedding_token_ids == "allow",
        watchdog=settings.watchdog,
    )


def _check_models(settings: Settings) -> None:
    models, rerankers = settings.embeddings.models, settings.embeddings.rerankers
    for flag, named, others in (
        ("--embedding-model", models, settings.engine.names),
        ("--reranker", rerankers, (*settings.engine.names, *models)),
    ):
        for name, path in named.items():
            if name in others:
                raise EngineStartError(f"{flag}: the name {name!r} is used by another model as well")
            check_sentence_model(path, flag)


def _check_names(settings: Settings, models: Mapping[str, str]) -> None:
    """Of the options that name embedding models."""
    truncated: Collection[str] = settings.embeddings.truncations.keys() - {""}
    for flag, names in (("--embedding-matryoshka", settings.embedder.matryoshka), ("--embedding-truncate", truncated)):
        for name in names:
            if name not in models:
                raise EngineStartError(f"{flag}: there is no embedding model {name!r}")
