"""All routes of the OpenAPI document. A test compares them with the app's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.generation.api import GenerationApi
from app.openapi.paths.adapters import ADAPTER_ROUTES
from app.openapi.paths.audio import AUDIO_ROUTES
from app.openapi.paths.channel import channel_routes
from app.openapi.paths.embeddings import EMBEDDING_ROUTES
from app.openapi.paths.generation import generation_route
from app.openapi.paths.input_tokens import input_tokens_route
from app.openapi.paths.messages import count_tokens_route
from app.openapi.paths.responses import response_routes
from app.openapi.paths.server import MODEL_ROUTES, PAGE_ROUTES, SERVER_ROUTES
from app.openapi.paths.tokenizer import tokenizer_routes
from app.openapi.route import Route


def routes(model: str, apis: Sequence[GenerationApi[Any]]) -> tuple[Route, ...]:
    """Every route, in the document's order. Examples ask for `model`."""
    generation = tuple(generation_route(api, model) for api in apis)
    return (
        *generation,
        count_tokens_route(model),
        input_tokens_route(model),
        *response_routes(model, apis),
        *EMBEDDING_ROUTES,
        *tokenizer_routes(model),
        *AUDIO_ROUTES,
        *channel_routes(apis),
        *MODEL_ROUTES,
        *ADAPTER_ROUTES,
        *SERVER_ROUTES,
        *PAGE_ROUTES,
    )
