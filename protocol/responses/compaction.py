"""`POST /v1/responses/compact`: the model sums a dialogue up, and the summary takes the dialogue's place.

https://platform.openai.com/docs/api-reference/responses/compact
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field, model_validator

from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest
from protocol.output import Delta, Usage
from protocol.responses.input.items import AnyItem, CompactionItem, MessageItem
from protocol.responses.input.summary import sealed
from protocol.responses.objects import Object, item_object, usage_of
from protocol.responses.request import HostedTools, ResponseRequest
from protocol.responses.schemas import ResponseUsage
from protocol.validation.request import refusal

MAX_SUMMARY_TOKENS = 1024
"""Unless the request says otherwise."""

INSTRUCTION = (
    "Sum up this conversation so that it can be continued from your summary alone. Keep what was asked for and "
    "decided, all facts, names, numbers and results of tools that may matter later, and what is still open. Write the "
    "summary and nothing else."
)


class CompactRequest(ResponseRequest):
    """A dialogue to summarize. Fields that shape an answer shape the summary."""

    @model_validator(mode="after")
    def _check_whole(self) -> CompactRequest:
        for name in ("stream", "background"):
            if getattr(self, name):
                raise refusal(Fault.UNSUPPORTED_FIELD, "is not possible here; remove it.", (name,))
        return self

    @property
    def output_token_limit(self) -> int | None:
        return self.max_output_tokens or MAX_SUMMARY_TOKENS

    @property
    def retained(self) -> list[AnyItem]:
        """The items kept next to the summary: rules, which no summary should weaken."""
        return [
            item
            for item in (*self._earlier, *self.input_items)
            if isinstance(item, MessageItem) and item.role in ("system", "developer")
        ]

    def generation_request(self, hosted_tools: HostedTools = "omit") -> GenerationRequest:
        """The dialogue, and the question for its summary, which needs no tools. Nothing of it may be left out."""
        asked = super().generation_request(hosted_tools)
        assert isinstance(asked.prompt, ChatPrompt)
        messages = [*asked.prompt.messages, {"role": "user", "content": INSTRUCTION}]
        return replace(
            asked, prompt=replace(asked.prompt, messages=messages), constraint=None, tools=None, may_truncate=False
        )


class CompactionCollector:
    """Collects a summary."""

    def __init__(self, request: CompactRequest, answer_id: str, created: int) -> None:
        self._request = request
        self._head: Object = {"id": answer_id, "object": "response.compaction", "created_at": created}
        self._texts: list[str] = []

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step; thoughts are no part of the summary."""
        self._texts += [delta.text for delta in deltas if delta.part is None]

    def body(self, usage: Usage) -> bytes:
        """The compaction object as JSON. Raises `TwowireError` if there is no summary: all would be lost."""
        summary = "".join(self._texts).strip()
        if not summary:
            raise TwowireError(Fault.INTERNAL, "The model wrote no summary; try again, or keep the items.")
        compaction = CompactionItem(type="compaction", encrypted_content=sealed(summary))
        output = [item_object(item, _new_id) for item in (*self._request.retained, compaction)]
        return orjson.dumps(self._head | {"output": output, "usage": usage_of(usage)})


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


class CompactedResponse(BaseModel):
    """A dialogue in short. Send `output` as the beginning of the next `input`, as it is."""

    id: str = Field(description="`resp_…`")
    object: Literal["response.compaction"] = Field(description="Always `response.compaction`.")
    created_at: int = Field(description="Unix time in seconds.")
    output: list[dict[str, Any]] = Field(
        description="The dialogue's system and developer messages, and an item of type `compaction`."
    )
    usage: ResponseUsage = Field(description="What the summary took.")
