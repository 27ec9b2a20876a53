"""What answers look like, as models for the OpenAPI document and for nothing else.

Does not know how answers are made: on a token's path bytes are written without a model, in `protocol.encoder`.
True to the schemas of https://github.com/openai/openai-openapi, less what this server never sends.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

ChatFinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
CompletionFinishReason = Literal["stop", "length", "content_filter"]

_CREATED = "When the answer was begun, in seconds since 1970 (UTC)."
_MODEL = "The name of the model that answered, as the request gave it."
_USAGE = "The tokens of the whole request."
_FINISH = "Why the choice ended: `stop` at its natural end or a stop string, `length` at the limit of tokens."


class PromptTokensDetails(BaseModel):
    """Where the prompt's tokens came from."""

    cached_tokens: int = Field(description="Prompt tokens taken from the prefix cache.")


class CompletionUsage(BaseModel):
    """Tokens counted for one request, all its choices together."""

    prompt_tokens: int = Field(description="Tokens of the prompt.")
    completion_tokens: int = Field(description="Tokens generated.")
    total_tokens: int = Field(description="Both together.")
    prompt_tokens_details: PromptTokensDetails | None = Field(default=None, description="Breakdown of the prompt.")


class TopTokenLogprob(BaseModel):
    """A candidate for one position."""

    token: str = Field(description="The token's text.")
    logprob: float = Field(description="Its natural-log probability; -9999 for next to none.")
    bytes: list[int] | None = Field(description="The token's UTF-8 bytes, for tokens that are part of a character.")


class ChatCompletionTokenLogprob(TopTokenLogprob):
    """A generated token, and the candidates that stood beside it."""

    top_logprobs: list[TopTokenLogprob] = Field(description="As many candidates as `top_logprobs` asked for.")


class ChatLogprobs(BaseModel):
    """Log probabilities of a choice."""

    content: list[ChatCompletionTokenLogprob] | None = Field(description="One entry for each token of the content.")
    refusal: list[ChatCompletionTokenLogprob] | None = Field(description="One entry for each token of a refusal.")


class ChatCompletionMessage(BaseModel):
    """What the model answered."""

    role: Literal["assistant"] = Field(description="Always `assistant`.")
    content: str | None = Field(description="The text of the answer.")
    refusal: str | None = Field(description="The text of a refusal; null here.")


class ChatCompletionChoice(BaseModel):
    """One of the `n` answers."""

    index: int = Field(description="Which of the answers this is, from 0.")
    message: ChatCompletionMessage = Field(description="The answer.")
    finish_reason: ChatFinishReason = Field(description=_FINISH)
    logprobs: ChatLogprobs | None = Field(description="Log probabilities, if `logprobs` asked for them.")


class ChatCompletion(BaseModel):
    """A whole chat answer (OpenAI's `CreateChatCompletionResponse`)."""

    id: str = Field(description="The answer's id, `chatcmpl-…`.")
    object: Literal["chat.completion"] = Field(description="Always `chat.completion`.")
    created: int = Field(description=_CREATED)
    model: str = Field(description=_MODEL)
    choices: list[ChatCompletionChoice] = Field(description="The `n` answers.")
    usage: CompletionUsage | None = Field(default=None, description=_USAGE)


class ChatCompletionDelta(BaseModel):
    """What a chunk adds to an answer."""

    role: Literal["assistant"] | None = Field(default=None, description="On the first chunk of a choice.")
    content: str | None = Field(default=None, description="The text to append.")
    refusal: str | None = Field(default=None, description="The text of a refusal to append.")


class ChatCompletionChunkChoice(BaseModel):
    """The part of a chunk that belongs to one of the `n` answers."""

    index: int = Field(description="Which of the answers this belongs to, from 0.")
    delta: ChatCompletionDelta = Field(description="What to append.")
    finish_reason: ChatFinishReason | None = Field(description=_FINISH + " Null until then.")
    logprobs: ChatLogprobs | None = Field(default=None, description="Of the tokens in this chunk.")


class ChatCompletionChunk(BaseModel):
    """A piece of a streamed chat answer (OpenAI's `CreateChatCompletionStreamResponse`)."""

    id: str = Field(description="The answer's id, the same in all its chunks.")
    object: Literal["chat.completion.chunk"] = Field(description="Always `chat.completion.chunk`.")
    created: int = Field(description=_CREATED)
    model: str = Field(description=_MODEL)
    choices: list[ChatCompletionChunkChoice] = Field(description="Empty in the chunk that carries the usage.")
    usage: CompletionUsage | None = Field(
        default=None,
        description="With `include_usage`: null in every chunk but the last, which has the usage.",
    )
    obfuscation: str | None = Field(
        default=None, description="With `include_obfuscation`: padding of random letters, to be ignored."
    )


class CompletionLogprobs(BaseModel):
    """Log probabilities of a completion: four lists of equal length, one entry for each token."""

    tokens: list[str] = Field(description="The tokens' texts.")
    token_logprobs: list[float | None] = Field(
        description="Natural-log probabilities; null only for the first token of an echoed prompt."
    )
    top_logprobs: list[dict[str, float] | None] = Field(description="The candidates for each position.")
    text_offset: list[int] = Field(description="Where each token begins in the text, in characters.")


class CompletionChoice(BaseModel):
    """One answer to one prompt, or what a chunk adds to it."""

    index: int = Field(description="Prompt's position times `n`, plus the answer's, both from 0.")
    text: str = Field(description="The text of the answer; in a chunk, the text to append.")
    finish_reason: CompletionFinishReason | None = Field(description=_FINISH + " Null before the last chunk.")
    logprobs: CompletionLogprobs | None = Field(description="Log probabilities, if `logprobs` asked for them.")


class Completion(BaseModel):
    """A whole completion, or a chunk of a streamed one (OpenAI's `CreateCompletionResponse`)."""

    id: str = Field(description="The answer's id, `cmpl-…`.")
    object: Literal["text_completion"] = Field(description="Always `text_completion`.")
    created: int = Field(description=_CREATED)
    model: str = Field(description=_MODEL)
    choices: list[CompletionChoice] = Field(description="`n` answers to each prompt, in the prompts' order.")
    usage: CompletionUsage | None = Field(default=None, description=_USAGE)


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
    model: str = Field(description=_MODEL)
    usage: EmbeddingUsage = Field(description=_USAGE)


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
    model: str = Field(description=_MODEL)
    results: list[RankedDocument] = Field(description="The best first; `top_n` of them.")
    usage: EmbeddingUsage = Field(description=_USAGE)


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
