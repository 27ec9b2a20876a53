"""The request and the answer of `POST /v1/rerank`, in the shape that Jina's and Cohere's share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import Discriminator, Field, Tag

from protocol.embeddings.embed import MAX_TEXTS, InputText, ModelName, Truncate
from protocol.embeddings.unsupported import RERANK_FIELDS
from protocol.errors import Fault
from protocol.sampling import MAX_INT32
from protocol.validation.request import NO_NUL, RequestModel, RequestPart, Text
from protocol.validation.unsupported_fields import FieldRule

MAX_QUERY_CHARS = 10_000
"""It is read again with each document."""

Query = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARS), NO_NUL]


class DocumentObject(RequestPart):
    """A document as an object, as Jina's and Cohere's older interfaces have it."""

    text: InputText = Field(description="The document's text.")


def _document_shape(value: Any) -> str | None:
    if isinstance(value, str):
        return "<text>"
    return "<object>" if isinstance(value, dict) else None


Document = Annotated[
    Annotated[InputText, Tag("<text>")] | Annotated[DocumentObject, Tag("<object>")],
    Discriminator(
        _document_shape,
        custom_error_type=Fault.INVALID_TYPE.name,
        custom_error_message="must be a string, or an object with a text",
    ),
]


class RerankRequest(RequestModel):
    """What to rank, and by what.

    https://docs.cohere.com/reference/rerank, https://api.jina.ai/docs
    """

    field_rules: ClassVar[Mapping[str, FieldRule]] = RERANK_FIELDS

    model: ModelName = Field(description="The name of a reranker from /v1/models.")
    query: Query = Field(description="What is looked for.")
    documents: Annotated[list[Document], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True)] = Field(
        description="What to rank: texts, or objects with a `text`; none of them empty."
    )
    top_n: int | None = Field(
        default=None, ge=1, le=MAX_INT32, description="Answer with so many of the best; else all."
    )
    return_documents: bool = Field(default=False, description="Repeat each document in the answer.")
    truncate: Truncate = Field(
        default="end",
        description="What becomes of a query and document that are together longer than the model reads: `end` "
        "leaves the end of the longer one out, `none` refuses the request.",
    )
    user: Text | None = Field(default=None, description="Accepted; it changes nothing and is not kept.")

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [one if isinstance(one, str) else one.text for one in self.documents]

    @property
    def may_truncate(self) -> bool:
        """What is too long is cut, and not refused."""
        return self.truncate.lower() == "end"


def rerank_answer(asked: RerankRequest, answer_id: str, scores: Sequence[float], prompt_tokens: int) -> bytes:
    """The documents by their scores, the best first; documents of equal score keep their order."""
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: asked.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in best]
    if asked.return_documents:
        texts = asked.texts
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    return orjson.dumps(
        {
            "id": answer_id,
            "model": asked.model,
            "results": results,
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }
    )
