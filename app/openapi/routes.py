"""All routes of the OpenAPI document. A test compares them with the app's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.generation.api import GenerationApi
from app.openapi.adapters import ADAPTER_ROUTES
from app.openapi.audio import AUDIO_ROUTES
from app.openapi.channel import channel_routes
from app.openapi.embeddings import EMBEDDING_ROUTES
from app.openapi.generation import generation_route
from app.openapi.input_tokens import input_tokens_route
from app.openapi.messages import count_tokens_route
from app.openapi.responses import response_routes
from app.openapi.route import Route
from app.openapi.server import MODEL_ROUTES, PAGE_ROUTES, SERVER_ROUTES
from app.openapi.tokenizer import tokenizer_routes


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
