"""Describes the routes for embeddings and rankings."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel

from app.openapi.route import BODY_FAULTS, REQUEST_TIMEOUT_PARAMETER, Route, json_answer, json_body
from app.openapi.schemas import EmbeddingList, Ranking, Scores
from protocol.embeddings.embed import EmbeddingRequest, embedding_answer
from protocol.embeddings.rerank import RerankRequest, rerank_answer
from protocol.embeddings.score import ScoreRequest, score_answer
from protocol.errors import Fault

_EMBED = {"model": "all-MiniLM-L6-v2", "input": ["The sky is blue.", "Grass is green."]}
_RANK = {"model": "my-reranker", "query": "Which colour is the sky?", "documents": _EMBED["input"]}

_SCORE = {"model": "my-reranker", "text_1": _RANK["query"], "text_2": _EMBED["input"]}

_FAULTS = (
    *BODY_FAULTS,
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
    path: str,
    name: str,
    summary: str,
    description: str,
    request: tuple[type[BaseModel], dict[str, dict[str, Any]]],
    response: tuple[type[BaseModel], bytes],
) -> Route:
    answer = json_answer("The answer.", response[0])
    answer["content"]["application/json"]["example"] = orjson.loads(response[1])
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
        body=json_body(*request),
        answers={200: answer},
    )


EMBEDDING_ROUTES = (
    _route(
        "/v1/embeddings",
        "createEmbedding",
        "Embed texts",
        "A vector for each text. The texts of all clients are computed in common batches.",
        (
            EmbeddingRequest,
            {
                "Texts": _EMBED,
                "One text, in base64": {**_EMBED, "input": "The sky is blue.", "encoding_format": "base64"},
            },
        ),
        (EmbeddingList, embedding_answer("all-MiniLM-L6-v2", [b"[0.12,-0.05]", b"[0.08,0.11]"], 12)),
    ),
    _route(
        "/v1/rerank",
        "rerank",
        "Rank documents by a query",
        "Only if the server has a cross-encoder (`--reranker`). Compatible with Cohere's and Jina's APIs.",
        (RerankRequest, {"Ranking": _RANK}),
        (Ranking, rerank_answer(RerankRequest.model_validate(_RANK), "rerank-3f0c5d9a", [0.98, 0.02], 30)),
    ),
    _route(
        "/v1/score",
        "score",
        "Compare texts with one",
        "What `/v1/rerank` computes, in the order of the texts, and in vLLM's shape.",
        (ScoreRequest, {"Scores": _SCORE}),
        (Scores, score_answer(ScoreRequest.model_validate(_SCORE), "score-3f0c5d9a", [0.98, 0.02], 30)),
    ),
)
