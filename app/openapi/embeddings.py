"""Describes the routes of the embedder in OpenAPI's terms.

Does not know the other routes; `app.openapi.routes` puts them together.
"""

from __future__ import annotations

from typing import Any

import orjson

from app.openapi.route import REQUEST_TIMEOUT_PARAMETER, Route, ref
from protocol.embeddings.embed import embedding_answer
from protocol.embeddings.rerank import RerankRequest, rerank_answer
from protocol.errors import Fault

_EMBED = {"model": "all-MiniLM-L6-v2", "input": ["The sky is blue.", "Grass is green."]}
_RANK = {"model": "my-reranker", "query": "Which colour has the sky?", "documents": _EMBED["input"]}

_FAULTS = (
    Fault.INVALID_JSON,
    Fault.BODY_TOO_LARGE,
    Fault.UNSUPPORTED_MEDIA_TYPE,
    Fault.REQUEST_TIMEOUT,
    Fault.MISSING_FIELD,
    Fault.INVALID_TYPE,
    Fault.INVALID_VALUE,
    Fault.UNSUPPORTED_FIELD,
    Fault.CHAT_TEMPLATE_REFUSED,
    Fault.CONTEXT_LENGTH_EXCEEDED,
    Fault.MODEL_NOT_FOUND,
    Fault.TOO_MANY_REQUESTS,
    Fault.TOO_MANY_TOKENS,
    Fault.QUEUE_FULL,
    Fault.ENGINE_NOT_READY,
    Fault.ENGINE_DIED,
    Fault.DRAINING,
    Fault.DEADLINE_EXCEEDED,
)


def _route(
    path: str, name: str, summary: str, description: str, request: tuple[str, Any], answer: tuple[str, bytes]
) -> Route:
    return Route(
        path=path,
        method="post",
        name=name,
        tag="Embeddings",
        summary=summary,
        description=description,
        is_metered=True,
        faults=_FAULTS,
        parameters=(REQUEST_TIMEOUT_PARAMETER,),
        body={
            "required": True,
            "description": "JSON in UTF-8, not compressed.",
            "content": {"application/json": {"schema": ref(request[0]), "examples": request[1]}},
        },
        answers={
            200: {
                "description": "The answer.",
                "content": {"application/json": {"schema": ref(answer[0]), "example": orjson.loads(answer[1])}},
            }
        },
    )


EMBEDDING_ROUTES = (
    _route(
        "/v1/embeddings",
        "createEmbedding",
        "Turn texts into vectors",
        "A vector for each text. Requests of all clients are computed together, in a process of their own.",
        (
            "EmbeddingRequest",
            {
                "Texts": {"value": _EMBED},
                "One, in base64": {"value": {**_EMBED, "input": "The sky is blue.", "encoding_format": "base64"}},
            },
        ),
        ("EmbeddingList", embedding_answer("all-MiniLM-L6-v2", [b"[0.12,-0.05]", b"[0.08,0.11]"], 12)),
    ),
    _route(
        "/v1/rerank",
        "rerank",
        "Rank documents by a query",
        "Only where the server has a cross-encoder (`--reranker`). The shape is what Cohere's and Jina's share.",
        ("RerankRequest", {"Ranking": {"value": _RANK}}),
        (
            "Ranking",
            rerank_answer(RerankRequest.model_validate(_RANK), "rerank-3f0c5d9a", [0.98, 0.02], 30),
        ),
    ),
)
