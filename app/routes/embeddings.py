"""The routes of the embedder: embeddings, and ranking.

A client that leaves cancels its handler, and with it the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import orjson
from quart import Blueprint, Response, request

from app.limits.deadlines import REQUEST_TIMEOUT_HEADER, asked_timeout
from app.observability.record import RequestRecord, record_of
from app.routes.shared.http import json_response, parsed_body
from app.services import Services
from engine.embeddings.api import Embedded, Job
from protocol.embeddings.embed import EmbeddingRequest, embedding_answer
from protocol.embeddings.rerank import RerankRequest, rerank_answer
from protocol.embeddings.score import ScoreRequest, score_answer
from protocol.errors import Fault, TwowireError

ASIDE_TEXTS = 256
"""An answer of more texts is put together in a thread: ten thousand vectors are tens of megabytes."""


def embedding_routes(services: Services) -> Blueprint:
    """`POST /v1/embeddings`, `POST /v1/rerank` and `POST /v1/score`."""
    routes = Blueprint("embeddings", __name__)

    @routes.post("/v1/embeddings")
    async def embeddings() -> Response:
        """Turn texts into vectors. OpenAI's reference: Embeddings, Create."""
        asked = await parsed_body(EmbeddingRequest, services.parser, services.settings.requests.body_timeout_s)
        record = _note(services, asked)
        services.models.check(asked.model, "embeddings")
        may_truncate = asked.may_truncate
        job = Job(
            asked.model,
            asked.texts,
            is_list=not asked.is_single,
            truncate=asked.model in services.embedder.truncated if may_truncate is None else may_truncate,
            base64=asked.encoding_format == "base64",
            dimensions=asked.dimensions,
            normalize=asked.normalize,
            prompt_name=asked.prompt_name,
            task=asked.task,
        )
        done = await _run(services, record, job)
        if len(done.pieces) < ASIDE_TEXTS:
            return json_response(embedding_answer(asked.model, done.pieces, done.tokens))
        return json_response(await asyncio.to_thread(embedding_answer, asked.model, done.pieces, done.tokens))

    @routes.post("/v1/rerank")
    async def rerank() -> Response:
        """Order documents by how well they fit a query. Cohere's and Jina's reference: Rerank."""
        asked = await parsed_body(RerankRequest, services.parser, services.settings.requests.body_timeout_s)
        scores, tokens = await _scored(services, asked, asked.query)
        return json_response(rerank_answer(asked, f"rerank-{uuid.uuid4().hex}", scores, tokens))

    @routes.post("/v1/score")
    async def score() -> Response:
        """Compare texts with one, in their order. vLLM's reference: Scoring."""
        asked = await parsed_body(ScoreRequest, services.parser, services.settings.requests.body_timeout_s)
        scores, tokens = await _scored(services, asked, asked.text_1)
        return json_response(score_answer(asked, f"score-{uuid.uuid4().hex}", scores, tokens))

    return routes


def _note(services: Services, asked: EmbeddingRequest | RerankRequest | ScoreRequest) -> RequestRecord:
    record = record_of(request.scope)
    record.model, record.is_work = asked.model, True
    if asked.unknown_fields:
        services.metrics.unknown_fields.labels(record.path).inc(len(asked.unknown_fields))
    return record


async def _scored(services: Services, asked: RerankRequest | ScoreRequest, query: str) -> tuple[list[float], int]:
    """How well each text fits `query`, in their order, and the tokens that were read."""
    record = _note(services, asked)
    services.models.check(asked.model, "rerank")
    job = Job(asked.model, asked.texts, query=query, truncate=asked.may_truncate)
    done = await _run(services, record, job)
    return [float(orjson.loads(piece)) for piece in done.pieces], done.tokens


async def _run(services: Services, record: RequestRecord, job: Job) -> Embedded:
    asked_s = asked_timeout(request.headers.getlist(REQUEST_TIMEOUT_HEADER))
    # What it answers with has no first token.
    deadlines = replace(services.deadlines.starting_now(asked_s), first_token_s=None)
    record.figures["texts"] = len(job.texts)
    began_at = time.monotonic()
    client = record.client or ""
    async with _reserved(services, client, job) as settle:
        running = asyncio.ensure_future(services.embedder.run(job, client))

        async def leave() -> None:
            running.cancel()

        # The guard also cancels the job if the handler is abandoned.
        await record.adopt(None, leave)
        try:
            async with deadlines.limit():
                done = await running
        finally:
            running.cancel()
        await settle(done.tokens)
    record.figures["prompt_tokens"] = done.tokens
    services.metrics.embedded(job.model, len(job.texts), done.tokens, time.monotonic() - began_at)
    return done


@contextlib.asynccontextmanager
async def _reserved(services: Services, client: str, job: Job) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Take about as many tokens as `job` will read; what it gives takes those that it did read in place of them.

    A job that is refused or fails gives everything back. One that its client leaves midway has used the embedder for
    an unknown number of tokens: it pays the estimate. Raises `TwowireError` (429) where there are not as many.
    """
    reserved = services.embedder.estimated_tokens(job)
    await services.rates.reserve(client, reserved, is_estimate=True)

    async def settle(tokens: int) -> None:
        await services.rates.spend(client, tokens - reserved)

    try:
        yield settle
    except TwowireError as error:
        if error.fault is not Fault.DEADLINE_EXCEEDED:
            await settle(0)
        raise
    except Exception:
        await settle(0)
        raise
