"""Makes the Quart app: the middleware and the routes."""

from __future__ import annotations

from quart import Quart
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.routing import MapAdapter

from app.channel.endpoint import BoundedConnection, channel_routes
from app.middleware.checks import add_checks
from app.middleware.cors import allow_origins
from app.middleware.direct import serve_directly
from app.middleware.errors import add_error_handlers
from app.middleware.lifecycle import RequestGuard
from app.middleware.root_path import RootPath
from app.routes.adapters import adapter_routes
from app.routes.audio import audio_routes
from app.routes.embeddings import embedding_routes
from app.routes.generation import generation_routes
from app.routes.health import status_routes
from app.routes.messages import messages_routes
from app.routes.models import model_routes
from app.routes.pages import page_routes
from app.routes.responses.compact import compact_routes
from app.routes.responses.conversations import conversation_routes
from app.routes.responses.input_tokens import input_token_routes
from app.routes.responses.stored import stored_response_routes
from app.routes.resume import resumable_routes
from app.routes.tickets import ticket_routes
from app.routes.tokenizer import tokenizer_routes
from app.services import Services
from app.uploads.connection import UploadConnection
from engine.processes.fork_server import stop_fork_server


class _App(Quart):
    """Quart, except that a request's route is found by its path alone."""

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        if request is None:
            return super().create_url_adapter(request)
        # Quart would encode the Host header as a domain name for each request, which costs as much as parsing the body.
        # No route here depends on the host, and `HostCheck` checks it.
        path, query = request.path, request.query_string.decode()
        return MapAdapter(self.url_map, "", request.root_path, "", request.scheme, path, request.method, query)


def create_app(services: Services) -> Quart:
    """An app that starts the services' engine and embedder when it starts, and stops them when it stops."""
    app = _App("app", static_folder=None)
    app.asgi_http_class = UploadConnection
    app.asgi_websocket_class = BoundedConnection
    app.config["MAX_CONTENT_LENGTH"] = services.settings.requests.max_body_bytes
    app.config["BODY_TIMEOUT"] = None  # `app.routes.shared.http` has its own timeout.
    app.config["RESPONSE_TIMEOUT"] = None  # It cuts streams silently; the connection has a send timeout.
    # A redirect of `//v1/models` would be sent before the key is checked; an odd path is unknown.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    origins = services.settings.access.cors_origins
    app.register_blueprint(allow_origins(generation_routes(services), origins))
    app.register_blueprint(allow_origins(embedding_routes(services), origins))
    app.register_blueprint(allow_origins(audio_routes(services), origins))
    app.register_blueprint(allow_origins(status_routes(services), origins))
    app.register_blueprint(allow_origins(model_routes(services), origins))
    app.register_blueprint(allow_origins(messages_routes(services), origins))
    app.register_blueprint(allow_origins(resumable_routes(services), origins))
    app.register_blueprint(allow_origins(input_token_routes(services), origins))
    app.register_blueprint(allow_origins(stored_response_routes(services), origins))
    app.register_blueprint(allow_origins(compact_routes(services), origins))
    app.register_blueprint(allow_origins(conversation_routes(services), origins))
    app.register_blueprint(allow_origins(ticket_routes(services), origins))
    app.register_blueprint(allow_origins(tokenizer_routes(services), origins))
    app.register_blueprint(adapter_routes(services))
    app.register_blueprint(channel_routes(services))
    app.register_blueprint(page_routes(services))
    add_checks(app, services)
    add_error_handlers(app, services)
    serve_directly(app, services)
    if prefix := services.settings.listening.root_path:
        app.asgi_app = RootPath(app.asgi_app, prefix)  # type: ignore[method-assign]  # the documented way
    app.asgi_app = RequestGuard(app.asgi_app, services.access.request)  # type: ignore[method-assign]  # the documented way

    @app.before_serving
    async def start() -> None:
        for store in services.stores:
            store.start()
        services.manager.start()
        # After the engine, not beside it: on a small machine that would delay the first chat.
        services.embedder.start(services.manager.wait_settled, lambda: services.manager.sequences == 0)

    @app.after_serving
    async def stop() -> None:
        await services.manager.stop()
        await services.embedder.stop()
        stop_fork_server()
        await services.replays.close()
        await services.responses.close()
        for store in services.stores:
            await store.close()
        await services.relay.close()
        services.parser.close()
        if services.traces is not None:
            await services.traces.close()

    return app
