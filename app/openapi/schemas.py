"""Responses as models for the OpenAPI document. Those of the APIs that generate are in `protocol`, beside each API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from protocol.schemas import MODEL, USAGE


class EmbeddingUsage(BaseModel):
    """Tokens counted for one request, all its texts together."""

    prompt_tokens: int = Field(description="Tokens that the model read, special ones and prompts included.")
    total_tokens: int = Field(description="The same.")


class Embedding(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = Field(description="Always `embedding`.")
    index: int = Field(description="Which of the texts it belongs to, from 0.")
    embedding: list[float] | str = Field(
        description="The numbers; or, with `encoding_format: base64`, base64 of them as float32, lowest byte first."
    )


class EmbeddingList(BaseModel):
    """The vectors of a request's texts (OpenAI's `CreateEmbeddingResponse`)."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[Embedding] = Field(description="A vector for each text, in the order of the texts.")
    model: str = Field(description=MODEL)
    usage: EmbeddingUsage = Field(description=USAGE)


class RankedText(BaseModel):
    """A document, repeated."""

    text: str = Field(description="Its text.")


class RankedDocument(BaseModel):
    """How well a document fits the query."""

    index: int = Field(description="Which of the documents it is, from 0.")
    relevance_score: float = Field(description="The model's score: with most models between 0 and 1, more is better.")
    document: RankedText | None = Field(default=None, description="With `return_documents`.")


class Ranking(BaseModel):
    """The documents by their scores."""

    id: str = Field(description="The answer's id, `rerank-…`.")
    model: str = Field(description=MODEL)
    results: list[RankedDocument] = Field(description="The best first; `top_n` of them.")
    usage: EmbeddingUsage = Field(description=USAGE)


class Model(BaseModel):
    """A model that this server answers for."""

    id: str = Field(description="The name to give as `model`.")
    object: Literal["model"] = Field(description="Always `model`.")
    created: int = Field(description="When the server took the model up, in seconds since 1970 (UTC).")
    owned_by: str = Field(description="Who offers the model.")
    type: Literal["chat", "embeddings", "rerank"] = Field(
        description="What the model is for: chats and completions, embeddings, or ranking."
    )


class ModelList(BaseModel):
    """All models that this server answers for (OpenAI's `ListModelsResponse`)."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[Model] = Field(description="The models; an alias is a model of its own.")


class Error(BaseModel):
    """What went wrong. All four members are always present."""

    message: str = Field(description="What to change, in plain words.")
    type: str = Field(description="`invalid_request_error` where the request must change, else `server_error`.")
    param: str | None = Field(description="The field at fault, for example `messages[0].content`.")
    code: str | None = Field(description="A stable name for the error, for programs.")


class ErrorResponse(BaseModel):
    """The answer to every request that failed, and an event of a stream that did."""

    error: Error = Field(description="What went wrong.")


class EmbedderHealth(BaseModel):
    """Whether a text could be embedded now. The answer's status and `status` do not depend on it."""

    state: str = Field(description="The embedder's: starting, ready, restarting, draining, failed or stopped.")
    reason: str = Field(description="What the embedder is doing, or why it failed; `ready` when it is ready.")


class Health(BaseModel):
    """Whether a token could be generated now."""

    status: str = Field(description="`ok` or `unavailable`.")
    state: str = Field(description="The engine's: starting, ready, restarting, draining, failed or stopped.")
    reason: str = Field(description="What the engine is doing, or why it failed; `ready` when it is ready.")
    since: float = Field(description="Since when it is in that state, in seconds since 1970 (UTC).")
    timestamp: float = Field(description="When this was found, in seconds since 1970 (UTC).")
    embedder: EmbedderHealth = Field(
        default_factory=lambda: EmbedderHealth(state="ready", reason="ready"),
        description="The embedder, where the server has embedding models or rerankers.",
    )
