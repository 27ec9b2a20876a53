"""Responses as models for the OpenAPI document. Those of the APIs that generate are in `protocol`, beside each API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from protocol.schemas import MODEL, USAGE


class EmbeddingUsage(BaseModel):
    """Tokens of a whole request."""

    prompt_tokens: int = Field(description="Tokens of all texts, with special tokens and prompts.")
    total_tokens: int = Field(description="The same as `prompt_tokens`.")


class Embedding(BaseModel):
    """The vector of one text."""

    object: Literal["embedding"] = Field(description="Always `embedding`.")
    index: int = Field(description="The index of its text, from 0.")
    embedding: list[float] | str = Field(
        description="The numbers; with `encoding_format: base64`, their little-endian float32 bytes in base64."
    )


class EmbeddingList(BaseModel):
    """The vectors of a request's texts (OpenAI's `CreateEmbeddingResponse`)."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[Embedding] = Field(description="A vector for each text, in the same order.")
    model: str = Field(description=MODEL)
    usage: EmbeddingUsage = Field(description=USAGE)


class RankedText(BaseModel):
    """A document of the request."""

    text: str = Field(description="The document's text.")


class RankedDocument(BaseModel):
    """A document's relevance to the query."""

    index: int = Field(description="The index of the document, from 0.")
    relevance_score: float = Field(description="The model's score, higher is better; with most models between 0 and 1.")
    document: RankedText | None = Field(default=None, description="Present with `return_documents`.")


class Ranking(BaseModel):
    """The documents, ordered by relevance."""

    id: str = Field(description="The response's id, `rerank-…`.")
    model: str = Field(description=MODEL)
    results: list[RankedDocument] = Field(description="The `top_n` best documents, best first.")
    usage: EmbeddingUsage = Field(description=USAGE)


class Score(BaseModel):
    """How well one text fits."""

    index: int = Field(description="The text's place in the request, from 0.")
    object: Literal["score"] = Field(description="Always `score`.")
    score: float = Field(description="The model's score; higher fits better.")


class Scores(BaseModel):
    """The scores of texts, in their order."""

    id: str = Field(description="The response's id, `score-…`.")
    object: Literal["list"] = Field(description="Always `list`.")
    created: int = Field(description="When it was made, in seconds since 1970 (UTC).")
    model: str = Field(description=MODEL)
    data: list[Score] = Field(description="One for each text.")
    usage: EmbeddingUsage = Field(description=USAGE)


class Model(BaseModel):
    """A model that this server serves."""

    id: str = Field(description="The name to give as `model`.")
    object: Literal["model"] = Field(description="Always `model`.")
    created: int = Field(description="When the server started serving it, in seconds since 1970 (UTC).")
    owned_by: str = Field(description="The owner of the model.")
    type: Literal["chat", "transcription", "embeddings", "rerank"] = Field(
        description="What the model does: chats and completions, writing down recordings, embeddings, or ranking."
    )
    tool_call_parser: str | None = Field(
        default=None,
        description="Of a chat model: how it writes tool calls, by vLLM's name; null if unknown.",
    )
    reasoning_parser: str | None = Field(
        default=None, description="Of a chat model: how it writes what it thinks; null if it does not, as far as known."
    )
    input_modalities: list[Literal["text", "image", "audio"]] | None = Field(
        default=None, description="Of a chat model: what a prompt may hold."
    )
    root: str | None = Field(default=None, description="Of an adapter: the folder it was loaded from.")
    parent: str | None = Field(default=None, description="Of an adapter: the model that it adapts.")


class ModelList(BaseModel):
    """All models that this server serves (OpenAI's `ListModelsResponse`)."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[Model] = Field(description="The models. An alias is listed as a model.")


class EmbedderHealth(BaseModel):
    """Whether the server can embed texts now. The HTTP status and `status` do not depend on it."""

    state: str = Field(description="The embedder's state: starting, ready, restarting, draining, failed or stopped.")
    reason: str = Field(description="What the embedder is doing, or why it failed; `ready` when it is ready.")


class StartProgress(BaseModel):
    """How much of what the engine does to start is done."""

    done: int = Field(description="How much is done, from 0 to `total`.")
    total: int = Field(description="How much there is; at least 1.")
    unit: Literal["bytes", "files", "steps"] = Field(
        description="What is counted: `bytes` of a download, `files` of weights that are loaded, `steps` of others."
    )


class Health(BaseModel):
    """Whether the server can generate now."""

    status: str = Field(description="`ok` or `unavailable`.")
    state: str = Field(description="The engine's state: starting, ready, restarting, draining, failed or stopped.")
    reason: str = Field(description="What the engine is doing, or why it failed; `ready` when it is ready.")
    progress: StartProgress | None = Field(
        default=None, description="How far the step in `reason` is, while the engine starts and where that is known."
    )
    engine_id: str = Field(description="Names the engine that runs or starts; every other engine has another name.")
    engine_digest: str = Field(
        default="",
        description="A digest of the model's files, the options of the engine and its versions, which `twowire engine` "
        "compares with its own. Present if the engine has followers.",
    )
    since: float = Field(description="When it entered that state, in seconds since 1970 (UTC).")
    timestamp: float = Field(description="The server's time, in seconds since 1970 (UTC).")
    embedder: EmbedderHealth = Field(
        default_factory=lambda: EmbedderHealth(state="ready", reason="ready"),
        description="Present if the server has embedding models or rerankers.",
    )


class Liveness(BaseModel):
    """That the server is running."""

    status: Literal["ok"] = Field(description="Always `ok`.")


class Version(BaseModel):
    """The server's version."""

    version: str = Field(description="The version of twowire.", examples=["0.1.0"])


class Ticket(BaseModel):
    """A ticket for one WebSocket."""

    object: Literal["ws.ticket"] = Field(description="Always `ws.ticket`.")
    ticket: str = Field(description="Valid for one connection, with the same key and from the same Origin.")
    subprotocol: str = Field(description="What to offer beside `twowire.v1`; it carries the ticket to the server.")
    expires_in: int = Field(description="Seconds until it expires.")


class DeletedChatCompletion(BaseModel):
    """A cancelled or deleted chat."""

    object: Literal["chat.completion.deleted"] = Field(description="Always `chat.completion.deleted`.")
    id: str = Field(description="The chat's id.")
    deleted: Literal[True] = Field(description="Always true.")
