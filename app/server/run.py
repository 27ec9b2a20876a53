"""Runs the app under hypercorn: opens the port at once, starts the engine behind it, drains before it stops.

Does not know the routes.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import Callable
from typing import TextIO

import structlog
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets

from app.config.load import Settings
from app.embedder_choice import choose_embedder
from app.factory import create_app
from app.hypercorn import IncompatibleHypercorn, install
from app.hypercorn.config import ServerConfig
from app.observability.logs import set_up_logs
from app.security.tls import Certificate, CertificateError
from app.server.open_files import TooFewFiles, raise_the_limit
from app.server.workers import ApiServer, listening_sockets, run_several
from app.services import Services, admission_limits, engine_config, make_services, served_names
from engine.api import EngineStartError
from engine.manager import EngineManager
from engine.processes.output import Output
from engine.registry import check_text_model, text_engine
from engine.supervisor import EngineState
from engine.watchdog import WatchdogLimits

log = structlog.get_logger(__name__)

LEAVE_S = 5.0
"""How much longer than a drain the other API servers may take to end."""

START_FAILED = 1
"""The exit code when the port or the engine cannot be had."""


def build_services(settings: Settings, one_of: ApiServer | None = None, output: Output | None = None) -> Services:
    """The manager of the engine that `settings` names, and what the routes share."""
    manager = EngineManager(
        text_engine(engine_config(settings), one_of.place if one_of else None, output),
        admission_limits(settings),
        keepalive_s=settings.keepalive_s,
        watchdog=WatchdogLimits(settings.heartbeat_interval_s, settings.stall_timeout_s),
        has_worked=one_of is not None and one_of.life.is_replacement,
    )
    embedder = choose_embedder(settings, served_names(settings))
    return make_services(settings, manager, embedder, one_of)


def run(settings: Settings) -> int:
    """Serve until a signal; returns the exit code."""
    set_up_logs(settings.log_format, settings.log_level)
    try:
        install()
        raise_the_limit()
    except (IncompatibleHypercorn, TooFewFiles) as error:
        return _fail(str(error))
    certificate = None
    if settings.certfile is not None and settings.keyfile is not None:
        try:
            certificate = Certificate(settings.certfile, settings.keyfile)
        except CertificateError as error:  # They have changed since the settings were read.
            return _fail(f"--certfile: {error}")
    config = hypercorn_config(settings, certificate)
    try:
        check_text_model(engine_config(settings))
        choose_embedder(settings, served_names(settings))
    except EngineStartError as error:
        return _fail(str(error))
    count = settings.api_server_count
    try:
        sockets = listening_sockets(config, count, by_address=settings.api_server_balance_by == "address")
    except OSError as error:
        return _fail(f"--port: cannot listen on {config.bind[0]}: {error.strerror or error}")
    url = _url(settings, sockets[0])

    def api_server(number: int, one_of: ApiServer | None = None) -> str | None:
        output = Output(shows_all=settings.log_level == "debug")
        with output.taken(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings, config, sockets[number], certificate, url, one_of, output))

    if count == 1:
        failure = api_server(0)
        code = START_FAILED if failure is not None else 0
    else:
        leave_s = settings.drain_timeout_s + LEAVE_S
        code, failure = run_several(sockets, leave_s, api_server, hangup_ends=certificate is None)
    if failure is not None:
        _fail(failure)  # Only now, so that it is the last line.
    _skip_the_last_collection(code)
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _skip_the_last_collection(code: int) -> None:
    """Make the process end with `code` as soon as it is told to end.

    Python's last act would be to look through all of vLLM's objects for cycles, for five seconds. By then everything
    has been closed; and a thread that still imports vLLM, where the stop came early, cannot be ended otherwise.
    """
    if "vllm" not in sys.modules:
        return

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # Nobody reads it any more.
                stream.flush()
        os._exit(code)

    atexit.register(leave)


def hypercorn_config(settings: Settings, certificate: Certificate | None = None) -> Config:
    """hypercorn's settings for a streaming server; the rest of its defaults stand."""
    config = _TlsConfig(certificate) if certificate is not None else ServerConfig()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config.bind = [f"{host}:{settings.port}"]
    config.backlog = settings.backlog
    config.include_server_header = False
    config.websocket_max_message_size = settings.ws_max_message_bytes
    config.h11_max_incomplete_size = settings.max_header_bytes
    config.h2_max_header_list_size = settings.max_header_bytes
    config.h2_max_concurrent_streams = settings.max_streams_per_connection
    config.ssl_handshake_timeout = settings.header_timeout_s
    config.header_timeout_s = settings.header_timeout_s
    config.max_headers = settings.max_headers
    config.send_timeout_s = settings.send_timeout_s
    config.max_connections = settings.max_connections
    config.max_connections_per_address = settings.max_connections_per_address
    # Messages of a WebSocket, each as large as that, and parts of a request's body that wait for the application.
    config.max_app_queue_size = 2
    # Longer than the pools of usual clients keep a connection, so that the client closes it, never both at once.
    config.keep_alive_timeout = settings.idle_timeout_s
    # hypercorn ends a connection, streams and all, after a thousand requests.
    config.keep_alive_max_requests = 2**31
    # It says where it listens, as we do; its warnings and errors stay.
    config.loglevel = "WARNING"
    # The drain has passed before hypercorn begins to stop: what is still open is only being closed.
    config.graceful_timeout = 3
    return config


class _TlsConfig(ServerConfig):
    """Listens with the context of a certificate that may change."""

    ssl_enabled = True

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate

    def create_ssl_context(self) -> ssl.SSLContext:
        return self._certificate.context


async def _serve(
    settings: Settings,
    config: Config,
    sockets: Sockets,
    certificate: Certificate | None,
    url: str,
    one_of: ApiServer | None,
    output: Output,
) -> str | None:
    """Until it has been stopped; returns why it could not start."""
    services = build_services(settings, one_of, output)
    # Of several API servers the first is ready last, and says so for all.
    is_first = one_of is None or one_of.place.is_leader
    log.info("listening", url=url, model=services.models.names[0])
    if is_first:
        sys.stderr.write(f"twowire: listening on {url}; the model is loading\n")
    stop = _Stop(services, settings.drain_timeout_s)
    background = [asyncio.create_task(_announce(services, url, stop, sys.stdout if is_first else None))]
    if one_of is not None and services.siblings is not None:
        background.append(asyncio.create_task(services.siblings.answer()))
        one_of.ask_when_orphaned(stop.asked)
    if certificate is not None:
        background.append(asyncio.create_task(certificate.watch()))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, certificate.reload)
    try:
        app = ASGIWrapper(create_app(services))
        await worker_serve(app, config, sockets=sockets, shutdown_trigger=stop.wait)
    finally:
        for task in background:
            task.cancel()
    return stop.failed


def _url(settings: Settings, sockets: Sockets) -> str:
    port = (*sockets.insecure_sockets, *sockets.secure_sockets)[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if sockets.secure_sockets else 'http'}://{host}:{port}"


async def _announce(services: Services, url: str, stop: _Stop, out: TextIO | None = sys.stdout) -> None:
    """Print the URL to `out` once the engine is ready; stop the server where it cannot become so."""
    manager = services.manager
    await manager.wait_settled()
    if manager.state is EngineState.FAILED:
        stop.failed = manager.reason
        stop.now()
    elif manager.is_ready and out is not None:
        out.write(f"twowire: ready: {url} (model: {services.models.names[0]}). Chat: {url}/ Docs: {url}/docs\n")
        out.flush()
        await _announce_embedder(services)


async def _announce_embedder(services: Services) -> None:
    embedder = services.embedder
    if embedder.models:
        await embedder.wait_settled()
    if embedder.is_ready:
        log.info("embeddings_ready", models=list(embedder.models))
    elif embedder.state in (EngineState.FAILED, EngineState.STOPPED):
        sys.stderr.write(f"twowire: there are no embeddings: {embedder.reason}\n")


class _Stop:
    """hypercorn's shutdown trigger: it returns when everything has been drained, not when the signal comes.

    The first signal refuses new work and lets what runs finish, the second ends it now.
    """

    def __init__(self, services: Services, drain_timeout_s: float) -> None:
        self.failed: str | None = None
        """Why the engine could not be started."""
        self._services = services
        self._drain_timeout_s = drain_timeout_s
        self._asked = asyncio.Event()
        self._now = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        if self._asked.is_set():
            self._now.set()
        else:
            self.asked()

    def asked(self) -> None:
        """Stop after a drain."""
        self._asked.set()
        self._services.manager.begin_drain()

    def now(self) -> None:
        """Stop without a drain."""
        self._now.set()
        self._asked.set()

    async def wait(self) -> None:
        """Return when hypercorn may close its sockets."""
        await self._asked.wait()
        drain = asyncio.create_task(self._drain(self._drain_timeout_s))
        now = asyncio.create_task(self._now.wait())
        await asyncio.wait({drain, now}, return_when=asyncio.FIRST_COMPLETED)
        now.cancel()
        if not drain.done():
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
            await self._drain(0.0)
        else:
            drain.result()

    async def _drain(self, timeout_s: float) -> None:
        services = self._services
        await asyncio.gather(services.manager.stop(timeout_s), services.embedder.stop(timeout_s))


def _fail(message: str) -> int:
    sys.stderr.write(f"twowire: error: {message}\n")
    return START_FAILED
