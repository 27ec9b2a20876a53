"""The request and the answer of `POST /v1/score`, in vLLM's shape."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import Discriminator, Field, Tag

from protocol.embeddings.embed import MAX_TEXTS, InputText, ModelName, Truncate
from protocol.embeddings.rerank import MAX_QUERY_CHARS
from protocol.embeddings.unsupported import RERANK_FIELDS
from protocol.errors import Fault
from protocol.validation.request import NO_NUL, RequestModel, Text
from protocol.validation.unsupported_fields import FieldRule


def _named(name: str) -> FieldRule:
    return FieldRule(predicate=f"is another name of {name}; send that.")


def _shape(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<texts>" if isinstance(value, list) else None


Texts = Annotated[
    Annotated[InputText, Tag("<text>")]
    | Annotated[list[InputText], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True), Tag("<texts>")],
    Discriminator(
        _shape,
        custom_error_type=Fault.INVALID_TYPE.name,
        custom_error_message="must be a string or a list of strings",
    ),
]


class ScoreRequest(RequestModel):
    """A text, and those to compare it with.

    https://docs.vllm.ai/en/latest/models/pooling_models/scoring.html
    """

    field_rules: ClassVar[Mapping[str, FieldRule]] = {
        **{name: rule for name, rule in RERANK_FIELDS.items() if name != "rank_fields"},
        "queries": _named("text_1"),
        "data_1": _named("text_1"),
        "documents": _named("text_2"),
        "items": _named("text_2"),
        "data_2": _named("text_2"),
    }

    model: ModelName = Field(description="The name of a reranker from /v1/models.")
    text_1: Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARS), NO_NUL] = Field(
        description="The text that the others are compared with."
    )
    text_2: Texts = Field(description="A text, or texts; none of them empty.")
    truncate: Truncate = Field(
        default="end",
        description="What becomes of two texts that are together longer than the model reads: `end` leaves the end of "
        "the longer one out, `none` refuses the request.",
    )
    user: Text | None = Field(default=None, description="Accepted; it changes nothing and is not kept.")

    @property
    def texts(self) -> list[str]:
        """Those to compare `text_1` with."""
        return [self.text_2] if isinstance(self.text_2, str) else self.text_2

    @property
    def may_truncate(self) -> bool:
        """What is too long is cut, and not refused."""
        return self.truncate.lower() == "end"


def score_answer(asked: ScoreRequest, answer_id: str, scores: Sequence[float], prompt_tokens: int) -> bytes:
    """The scores in the order of the texts."""
    return orjson.dumps(
        {
            "id": answer_id,
            "object": "list",
            "created": int(time.time()),
            "model": asked.model,
            "data": [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)],
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }
    )
