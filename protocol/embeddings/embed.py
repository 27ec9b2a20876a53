"""The request and the answer of `POST /v1/embeddings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field, Tag

from protocol.completions.request import PROMPT_SHAPES, PromptIds
from protocol.embeddings.unsupported import EMBEDDING_FIELDS
from protocol.sampling import MAX_INT32
from protocol.validation.request import NO_NUL, RequestModel, Text
from protocol.validation.unsupported_fields import FieldRule

MAX_TEXTS = 10_000
"""Texts in one request, to embed or to rank."""
MAX_TEXT_CHARS = 1_000_000
"""Characters of one text: far more than any model reads, and a second's work for a tokenizer."""

EncodingFormat = Literal["float", "base64"]
Truncate = Literal["none", "end", "NONE", "END"]
"""Cohere and NVIDIA write it in capitals."""

ModelName = Annotated[str, Field(min_length=1, max_length=256), NO_NUL]
InputText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS), NO_NUL]
Input = Annotated[
    Annotated[InputText, Tag("<text>")]
    | Annotated[list[InputText], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True), Tag("<texts>")]
    | Annotated[PromptIds, Tag("<ids>")]
    | Annotated[list[PromptIds], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True), Tag("<lists of ids>")],
    PROMPT_SHAPES,
]


class EmbeddingRequest(RequestModel):
    """OpenAI's `CreateEmbeddingRequest`, with what others add to it.

    https://platform.openai.com/docs/api-reference/embeddings/create
    """

    field_rules: ClassVar[Mapping[str, FieldRule]] = EMBEDDING_FIELDS

    model: ModelName = Field(description="The name of an embedding model from /v1/models.")
    input: Input = Field(
        description="A text, texts, token ids of the model's own tokenizer with its special tokens around them, or "
        "lists of those; none of them empty."
    )
    encoding_format: EncodingFormat = Field(
        default="float",
        description="A vector as a list of numbers, or as base64 of its float32 numbers, lowest byte first.",
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description="Shorten each vector to so many numbers, and scale it to length 1 again; only where the model "
        "was trained for that.",
    )
    user: Text | None = Field(default=None, description="Accepted; it changes nothing and is not kept.")
    truncate: Truncate | None = Field(
        default=None,
        description="What becomes of a text that is longer than the model reads: `none` refuses the request, "
        "`end` cuts the text's end off. The default is the server's `--embedding-truncate`: `none` unless set.",
    )
    prompt_name: Annotated[str, Field(min_length=1, max_length=256), NO_NUL] | None = Field(
        default=None, description="Put the model's prompt of this name in front of each text."
    )
    task: Literal["query", "passage", "document"] | None = Field(
        default=None,
        description="Put the model's own prompt for queries, or for passages, in front of each text, if it has one.",
    )
    normalize: bool | None = Field(
        default=None, description="Scale the vectors to length 1, or do not; by default as the model was made."
    )

    @property
    def texts(self) -> list[str | list[int]]:
        """What to embed, 1 to 10,000, each a non-empty text or a non-empty list of token ids."""
        value: Any = self.input
        one = isinstance(value, str) or isinstance(value[0], int)
        return [value] if one else value

    @property
    def is_single(self) -> bool:
        """`input` is what to embed, and not a list of it: an error then names `input` and no place in it."""
        return self.texts is not self.input

    @property
    def may_truncate(self) -> bool | None:
        """Whether a text that is too long is cut, and not refused; None where the server decides."""
        return None if self.truncate is None else self.truncate.lower() == "end"


def embedding_answer(model: str, vectors: Sequence[bytes], prompt_tokens: int) -> bytes:
    """OpenAI's `CreateEmbeddingResponse`; each vector is JSON already, a list or a string of base64."""
    items = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, vector) for index, vector in enumerate(vectors)
    )
    usage = orjson.dumps({"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens})
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (items, orjson.dumps(model), usage)
