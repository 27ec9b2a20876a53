"""Hosts the server on Ray Serve: a deployment whose replicas have an engine each. The only file that imports Ray.

Ray's own web server takes the connections, and calls the app of a replica by ASGI. Needs the extra `ray`. Guide:
docs/guides/ray.md. Test: `tests/live/fake/processes/test_ray.py`.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import ray
import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from quart import Quart
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from app.config.load import load_settings
from app.config.settings import Settings, SettingsError
from app.factory import create_app
from app.middleware.lifecycle import ASGIApp
from app.observability.logs import set_up_logs
from app.server.wiring import build_services
from app.services import Services
from engine.supervisor import EngineState

log = structlog.get_logger(__name__)

Build = Callable[[Settings], Services]

LEAVE_S = 10.0
"""How much longer than its drain a replica may take to end, before Ray kills it."""
LOOK_S = 0.25
SEQUENCES = "twowire_sequences"


def _split(flags: Any) -> Any:
    return shlex.split(flags) if isinstance(flags, str) else flags


class RayOptions(BaseModel):
    """The arguments of the application, as `args` in a configuration of Serve or as `name=value` after `serve run`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flags: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()
    """Those of `twowire serve`, as a list or as a shell has them.

    `TWOWIRE_…` variables count as well, as they are where a replica runs.
    """
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1)
    """With more than `replicas`, Ray adds replicas under load, and takes them away again."""
    target_sequences: float = Field(16.0, gt=0)
    """How many sequences a replica should run or hold waiting; beyond that Ray adds another one."""
    upscale_delay_s: float = Field(30.0, ge=0)
    downscale_delay_s: float = Field(600.0, ge=0)
    cpus: float = Field(1.0, ge=0)
    """The CPUs that Ray sets aside for a replica."""
    gpus: float = Field(0.0, ge=0)
    max_requests: int = Field(10_000, ge=1)
    """How many requests and WebSockets Ray gives to a replica at once: more than the server's own limits allow."""


def application(args: dict[str, Any]) -> serve.Application:
    """The application for `serve run app.server.ray:application`, of `RayOptions`. Raises `SettingsError`.

    Ray would make them itself, but not of an annotation that is a string, as all are in this file.
    """
    return hosted(RayOptions.model_validate(args), build_services)


def hosted(options: RayOptions, build: Build) -> serve.Application:
    """The deployment, with what builds a replica's services. Raises `SettingsError`."""
    drain_s = _settings(options).requests.drain_timeout_s
    deployment = serve.deployment(
        serve.ingress()(_Replica),
        name="twowire",
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=options.max_requests,
        graceful_shutdown_timeout_s=drain_s + LEAVE_S,
        graceful_shutdown_wait_loop_s=LOOK_S,
        health_check_period_s=5,
        **_count(options),
    )
    return deployment.bind(options, build)


def _count(options: RayOptions) -> dict[str, Any]:
    least, most = options.replicas, options.max_replicas
    if most is None or most <= least:
        return {"num_replicas": least}
    scaling = AutoscalingConfig(
        min_replicas=least,
        max_replicas=most,
        target_ongoing_requests=options.target_sequences,
        upscale_delay_s=options.upscale_delay_s,
        downscale_delay_s=options.downscale_delay_s,
        policy=AutoscalingPolicy(policy_function=replicas_wanted),
    )
    return {"autoscaling_config": scaling}


def replicas_wanted(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """As many replicas as the sequences that run or wait need; Ray applies its delays and bounds.

    Ray's own count is of requests: a WebSocket would be one, with no generation or with a hundred.
    """
    by_replica = (context.aggregated_metrics or {}).get(SEQUENCES)
    if not by_replica:
        return context.target_num_replicas, {}  # Nothing is reported yet.
    return sum(by_replica.values()) / context.config.target_ongoing_requests, {}


def _settings(options: RayOptions) -> Settings:
    settings = load_settings(options.flags, os.environ)
    if settings.listening.api_server_count > 1:
        raise SettingsError("--api-server-count: Ray Serve starts replicas instead")
    if settings.adapters.is_enabled:
        raise SettingsError("--lora, --lora-dir, --enable-lora: only `twowire serve` serves adapters")
    return settings


class _Replica:
    """One server, without sockets of its own but the one for the other replicas."""

    def __init__(self, options: RayOptions, build: Build) -> None:
        settings = _with_relay(_settings(options), ray.util.get_node_ip_address())
        set_up_logs(settings.logging.log_format, settings.logging.log_level)
        self._settings = settings
        self._services = build(settings)
        self._tasks: list[asyncio.Task[None]] = []
        self._leaves_at: float | None = None
        """When the drain's time is over, by the event loop's clock; None while Ray keeps this replica."""

    def __serve_build_asgi_app__(self) -> Quart:
        app = create_app(self._services)
        app.asgi_app = _without_a_second_id(app.asgi_app)  # type: ignore[assignment, method-assign]  # the documented way
        # After those of the app itself, which start the engine and stop it.
        app.before_serving(self._start)
        app.after_serving(self._stop)
        # Ray waits for requests, but not for what runs without one: responses in the background, chats to resume.
        app.after_serving_funcs.insert(0, self._drain)
        return app

    async def _start(self) -> None:
        """Return when the engine is ready: before that, Ray gives the replica no requests."""
        services, relay = self._services, self._settings.relay
        if relay.port is not None and relay.secret is not None:
            secret = relay.secret.get_secret_value().encode()
            await services.relay.serve_tcp(relay.host, relay.port, secret)
            self._tasks.append(asyncio.create_task(services.peers.announce()))
        await services.manager.supervisor.wait_settled()
        await self.check_health()
        if (is_stopping := _stopping()) is not None:
            self._tasks.append(asyncio.create_task(self._drain_once(is_stopping)))

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _drain_once(self, is_stopping: Callable[[], bool]) -> None:
        while not is_stopping():  # noqa: ASYNC110  # Ray sets no event
            await asyncio.sleep(LOOK_S)
        await self._drain()

    async def _drain(self) -> None:
        """Wait until nothing runs any more, at most for the time that is left since this was first called."""
        now, drain_s = asyncio.get_running_loop().time(), self._settings.requests.drain_timeout_s
        if self._leaves_at is None:
            self._leaves_at = now + drain_s
            log.info("draining", drain_timeout_s=drain_s)
        left_s = max(self._leaves_at - now, 0.0)
        await asyncio.gather(self._services.manager.stop(left_s), self._services.embedder.stop(left_s))

    async def check_health(self) -> None:
        """Ray asks; a replica whose check raises several times is replaced. An engine that restarts needs no help."""
        supervisor = self._services.manager.supervisor
        if supervisor.state in (EngineState.FAILED, EngineState.STOPPED):
            raise RuntimeError(f"the engine is {supervisor.state}: {supervisor.reason}")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Ray asks, where replicas are added and removed by load."""
        return {SEQUENCES: float(self._services.manager.sequences)}


def _with_relay(settings: Settings, node: str) -> Settings:
    """`settings` with a port of this node for the other replicas, if a store and a secret are there to use it."""
    relay = settings.relay
    if relay.port is not None or relay.secret is None or not settings.store.is_shared:
        return settings
    family = socket.AF_INET6 if ":" in node else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((node, 0))
        port: int = probe.getsockname()[1]
    # Should another program take it meanwhile, the replica fails to start, and Ray starts another.
    return replace(settings, relay=replace(relay, host=node, port=port))


def _stopping() -> Callable[[], bool] | None:
    """Tells whether Ray is stopping this replica; None if this Ray keeps that elsewhere than 2.60 does.

    Ray 2.60 first waits until the replica has no requests, and then calls its destructor. A WebSocket is a request,
    so without a drain meanwhile Ray would wait until it kills the replica, and everything that runs in it.
    """
    worker = ray._private.worker.global_worker
    replica: Any = getattr(worker.actors.get(worker.actor_id), "_replica_impl", None)
    if not hasattr(replica, "_shutting_down"):
        log.warning("no_drain", reason="this version of Ray does not say when it stops a replica")
        return None
    return lambda: bool(replica._shutting_down)


def _without_a_second_id(app: ASGIApp) -> ASGIApp:
    """Leave out our X-Request-ID, which Ray's proxy adds to each response by itself: the same, as it chose it."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        async def send_once(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0].lower() != b"x-request-id"]
            await send(message)

        await app(scope, receive, send_once)

    return call
