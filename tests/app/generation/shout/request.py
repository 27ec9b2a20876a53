"""The request of `POST /v1/shout`."""

from __future__ import annotations

from pydantic import Field

from protocol.generation import ChatPrompt, FieldNames, GenerationRequest, Sampling
from protocol.validation.request import ApiRequest, Text


class ShoutRequest(ApiRequest):
    """Asks a question, to be answered in capitals."""

    question: Text = Field(min_length=1, description="What to ask.")
    max_words: int = Field(default=20, ge=1, le=1000, description="The most tokens of the answer.")

    def generation_request(self) -> GenerationRequest:
        """The request as the engine takes it."""
        return GenerationRequest(
            ChatPrompt([{"role": "user", "content": self.question}]),
            Sampling(max_tokens=self.max_words),
            is_streamed=self.stream,
            fields=FieldNames(prompt="question"),
        )
