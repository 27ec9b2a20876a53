"""What the routes share, made once per app and handed to them: no globals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.config.connections import DeadlineLimits
from app.generation.api import GenerationApi
from app.generation.models import ServedModels
from app.generation.replay.store import ReplayStore
from app.generation.service import GenerationService
from app.generation.table import APIS
from app.limits.connections import Connections
from app.limits.parser import ParserThread
from app.limits.rate_limits import RateLimits
from app.observability.access_log import AccessLog
from app.observability.load import LoadMonitor
from app.observability.metrics import Metrics
from app.observability.multiprocess import Siblings
from app.observability.traces import Traces
from app.relay.adapters import AdapterFollower, AdapterLeader
from app.relay.listener import RelayListener
from app.relay.peers import Peers
from app.security.api_keys import KeyRing
from app.security.hosts import HostCheck
from app.security.origins import OriginCheck
from app.security.tickets import Tickets
from app.stores.base import Store
from app.stores.responses.base import ResponseStore
from app.stores.responses.memory import MemoryResponses
from engine.embeddings.manager import Embedder
from engine.manager import EngineManager

if TYPE_CHECKING:
    from app.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may need."""

    settings: Settings
    manager: EngineManager
    metrics: Metrics
    keys: KeyRing
    admin: KeyRing
    """The admin key; empty if there is none."""
    hosts: HostCheck
    origins: OriginCheck
    models: ServedModels
    deadlines: DeadlineLimits
    generation: GenerationService
    replays: ReplayStore
    relay: RelayListener
    peers: Peers
    adapters: AdapterLeader | AdapterFollower
    """What loads and unloads adapters, here or in API server 0."""
    responses: ResponseStore
    socket_responses: MemoryResponses
    """The responses that live as long as their WebSocket."""
    stores: tuple[Store, ...]
    """What several processes share; started and closed with the app."""
    tickets: Tickets
    connections: Connections
    rates: RateLimits
    embedder: Embedder
    access: AccessLog
    load: LoadMonitor
    traces: Traces | None
    parser: ParserThread = field(default_factory=ParserThread)
    siblings: Siblings | None = None
    """The other API servers, where there are several."""
    engine_digest: str | None = None
    """What followers compare, where there are any."""
    apis: tuple[GenerationApi[Any], ...] = APIS
    """The APIs that generate."""
