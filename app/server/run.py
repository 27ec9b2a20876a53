"""Runs the app under hypercorn: opens the port at once, starts the engine behind it, drains before it stops."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

import structlog
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets

from app.config.settings import Settings
from app.config.values import FieldError, read_keys
from app.factory import create_app
from app.hypercorn import IncompatibleHypercorn, install
from app.hypercorn.config import share_counts
from app.observability.logs import set_up_logs
from app.observability.screen import Screen
from app.relay.adapters import AdapterFollower
from app.security.tls import Certificate, CertificateError
from app.server.announce import Announcer
from app.server.hypercorn_config import hypercorn_config
from app.server.open_files import TooFewFiles, raise_the_limit
from app.server.process_end import skip_the_last_collection
from app.server.shutdown import Stop
from app.server.sockets import listening_sockets
from app.server.wiring import build_services, choose_embedder
from app.server.workers import ApiServer, run_several
from app.services import Services
from app.stores.open import StoreOptionError, open_store
from app.stores.responses.open import check_store
from app.stores.responses.sqlite import StoreError
from engine.adapters.api import AdapterError
from engine.adapters.start import own_copies
from engine.api import EngineStartError
from engine.processes.output import Output
from engine.registry import check_text_model, check_vllm

log = structlog.get_logger(__name__)

LEAVE_S = 5.0
"""How much longer than the drain the other API servers may take to end."""

START_FAILED = 1
"""The exit code when the server could not listen, or the engine could not start."""


def run(settings: Settings) -> int:
    """Serve until a signal; returns the exit code."""
    screen = set_up_logs(settings.logging.log_format, settings.logging.log_level)
    engine = settings.engine
    try:
        with own_copies(engine.adapters, engine.model) as adapters:
            return _run(replace(settings, engine=replace(engine, adapters=adapters)), screen)
    except AdapterError as error:
        return _fail(str(error))


def _run(settings: Settings, screen: Screen) -> int:
    try:
        install()
        raise_the_limit()
    except (IncompatibleHypercorn, TooFewFiles) as error:
        return _fail(str(error))
    certificate = None
    if settings.tls.certfile is not None and settings.tls.keyfile is not None:
        try:
            certificate = Certificate(settings.tls.certfile, settings.tls.keyfile)
        except CertificateError as error:  # The files have changed since the settings were read.
            return _fail(f"--certfile: {error}")
    config = hypercorn_config(settings, certificate)
    try:
        check_text_model(settings.engine)
        choose_embedder(settings)
        check_store(settings.responses)
        open_store(settings.store)
        check_vllm()
    except EngineStartError as error:
        return _fail(str(error))
    except StoreOptionError as error:
        return _fail(f"--store: {error}")
    except StoreError as error:
        return _fail(f"--responses-store: {error}")
    count = settings.listening.api_server_count
    try:
        sockets = listening_sockets(config, count)
    except OSError as error:
        return _fail(f"--port: cannot listen on {config.bind[0]}: {error.strerror or error}")
    url = _url(settings, sockets[0])

    def api_server(number: int, one_of: ApiServer | None = None) -> str | None:
        # Through `screen`, which keeps these lines and its status apart.
        output = Output(shows_all=settings.logging.log_level == "debug", show=screen.write)
        # The first of several API servers is ready last, and announces all of them.
        announcer = Announcer(url, screen, speaks=one_of is None or one_of.place.is_leader)
        with output.taken(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings, config, sockets[number], certificate, announcer, one_of, output))

    if count == 1:
        failure = api_server(0)
        code = START_FAILED if failure is not None else 0
    else:
        leave_s = settings.requests.drain_timeout_s + LEAVE_S
        code, failure = run_several(sockets, leave_s, api_server, hangup_ends=not _reloads(settings))
    if failure is not None:
        _fail(failure)  # As the last line.
    skip_the_last_collection(code)
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's if it is installed, otherwise asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    config: Config,
    sockets: Sockets,
    certificate: Certificate | None,
    announcer: Announcer,
    one_of: ApiServer | None,
    output: Output,
) -> str | None:
    """Serve until stopped; returns why the server could not start, or None."""
    services = build_services(settings, one_of, output)
    announcer.listening(services)
    stop = Stop(services, settings.requests.drain_timeout_s)
    background = [asyncio.create_task(announcer.watch(services, stop))]
    if one_of is not None and services.siblings is not None:
        share_counts(config, one_of.counts)
        background.append(asyncio.create_task(services.siblings.answer()))
        one_of.ask_when_orphaned(stop.request)
    if certificate is not None:
        background.append(asyncio.create_task(certificate.watch()))
    try:
        background += await _relay(settings, services, one_of)
    except OSError as error:
        return f"--relay-port: cannot listen on {settings.relay.host}:{settings.relay.port}: {error.strerror or error}"
    if _reloads(settings):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, settings, services, certificate)
        if one_of is not None:
            # The file may have changed since it was read for all API servers, and SIGHUP was ignored until now. The
            # certificate's files are watched.
            _reload_keys(settings, services)
    try:
        app = ASGIWrapper(create_app(services))
        await worker_serve(app, config, sockets=sockets, shutdown_trigger=stop.wait)
    finally:
        for task in background:
            task.cancel()
    return stop.failed


async def _relay(settings: Settings, services: Services, one_of: ApiServer | None) -> list[asyncio.Task[None]]:
    """Let other servers and API servers reach the generations of this one. Raises `OSError`."""
    tasks = []
    relay, secret = settings.relay, settings.relay.secret
    if one_of is not None:
        tasks.append(asyncio.create_task(services.relay.serve_unix(one_of.relays[one_of.place.index])))
    if isinstance(services.adapters, AdapterFollower):
        tasks.append(asyncio.create_task(services.adapters.run()))
    if relay.port is not None and secret is not None:
        await services.relay.serve_tcp(
            relay.host, relay.port, secret.get_secret_value().encode(), shares_port=one_of is not None
        )
        tasks.append(asyncio.create_task(services.peers.announce()))
    return tasks


def _reloads(settings: Settings) -> bool:
    """Whether there are files that SIGHUP reads again. Otherwise it ends the server, as it does most programs."""
    return settings.tls.certfile is not None or settings.access.api_keys_file is not None


def _reload(settings: Settings, services: Services, certificate: Certificate | None) -> None:
    if certificate is not None:
        certificate.reload()
    if (keys := _reload_keys(settings, services)) is not None:
        log.info("api_keys_reloaded", keys=keys)


def _reload_keys(settings: Settings, services: Services) -> int | None:
    """Use the keys that the file holds now; returns how many keys there are, or None if there is no usable file."""
    access = settings.access
    if access.api_keys_file is None:
        return None
    try:
        keys = replace(access, keys_of_file=tuple(read_keys(access.api_keys_file))).keys()
    except FieldError as error:
        log.error("api_keys_not_reloaded", reason=str(error))
        return None
    services.keys.replace(keys)
    return len(keys)


def _url(settings: Settings, sockets: Sockets) -> str:
    port = (*sockets.insecure_sockets, *sockets.secure_sockets)[0].getsockname()[1]
    return f"{'https' if sockets.secure_sockets else 'http'}://{settings.listening.url_host}:{port}"


def _fail(message: str) -> int:
    sys.stderr.write(f"twowire: error: {message}\n")
    return START_FAILED
