"""The request of `POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Discriminator, Field, Tag, model_validator

from protocol.completions.unsupported import COMPLETION_FIELDS
from protocol.errors import Fault, TwowireError
from protocol.generation import FieldNames, GenerationRequest, TextPrompt
from protocol.sampling import MAX_INT32, TokenId
from protocol.validation.request import NO_NUL, Text, refusal
from protocol.validation.unsupported_fields import FieldRule
from protocol.vllm.fields import VllmFields

MAX_PROMPTS = 1024
MAX_GENERATIONS = 1024
"""Prompts times `n`: what one request may ask the engine to run."""

DEFAULT_MAX_TOKENS = 16
"""OpenAI's default for this route; a chat has none."""


def prompt_shape(value: Any) -> str | None:
    """The tag of what a prompt is: a text, token ids, or a list of either."""
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    # The first item says which kind of list was meant; another kind further on is refused by its index.
    first = value[0] if value else ""
    if isinstance(first, int) and not isinstance(first, bool):
        return "<ids>"
    return "<lists of ids>" if isinstance(first, list) else "<texts>"


PROMPT_SHAPES = Discriminator(
    prompt_shape,
    custom_error_type=Fault.INVALID_TYPE.name,
    custom_error_message="must be a string, a list of strings, a list of token ids or a list of those",
)
PromptText = Annotated[str, Field(min_length=1), NO_NUL]
PromptIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Prompt = Annotated[
    Annotated[PromptText, Tag("<text>")]
    | Annotated[list[PromptText], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True), Tag("<texts>")]
    | Annotated[PromptIds, Tag("<ids>")]
    | Annotated[list[PromptIds], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True), Tag("<lists of ids>")],
    PROMPT_SHAPES,
]


class CompletionRequest(VllmFields):
    """OpenAI's `CreateCompletionRequest`, with vLLM's extras.

    https://platform.openai.com/docs/api-reference/completions/create
    """

    field_rules: ClassVar[Mapping[str, FieldRule]] = COMPLETION_FIELDS

    prompt: Prompt = Field(description="A text, texts, token ids, or lists of token ids; none of them empty.")
    max_tokens: int | None = Field(
        default=None,
        ge=0,
        le=MAX_INT32,
        description="The most tokens to generate; 16 by default, 0 only with echo.",
    )
    suffix: Text | None = Field(default=None, description="The text that comes after the one to generate.")
    echo: bool = Field(default=False, description="Begin the answer with the prompt.")
    logprobs: int | None = Field(
        default=None,
        ge=0,
        le=5,
        description="Report log probabilities, and so many candidates for each position.",
    )
    best_of: int | None = Field(default=None, ge=1, le=128, description="Accepted only when 1 or equal to n.")

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, 1 to 1024, each a non-empty text or a non-empty list of token ids."""
        prompt: Any = self.prompt
        one = isinstance(prompt, str) or isinstance(prompt[0], int)
        return [prompt] if one else prompt

    @property
    def output_token_limit(self) -> int:
        """The most tokens to generate for one answer; 0 to only echo the prompt."""
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def top_logprob_count(self) -> int | None:
        """How many candidates (0 to 5) to report beside each token; None where no logprobs are wanted."""
        return self.logprobs

    def generation_request(self) -> GenerationRequest:
        """The request as the engine takes it. Raises `TwowireError` (400) for a suffix."""
        if self.suffix:
            raise TwowireError(
                Fault.UNSUPPORTED_FIELD, "The model cannot fill in text before a suffix; remove it.", param="suffix"
            )
        prompt = TextPrompt(self.prompts, self.echo)
        return GenerationRequest(
            prompt,
            self.sampling,
            self.choice_count,
            self.constraint,
            is_streamed=self.stream,
            fields=FieldNames() if self.constraint_field is None else FieldNames(schema=self.constraint_field),
            extras=self.extras,
        )

    @model_validator(mode="after")
    def _check_counts(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.echo:
            raise refusal(Fault.INVALID_VALUE, "must be at least 1 unless echo is true, got 0.", ("max_tokens",))
        if self.best_of not in (None, 1, self.choice_count):
            predicate = f"must be 1 or equal to n ({self.choice_count}), got {self.best_of}."
            raise refusal(Fault.UNSUPPORTED_FIELD, predicate, ("best_of",))
        wanted = len(self.prompts) * self.choice_count
        if wanted > MAX_GENERATIONS:
            predicate = f"times the number of prompts must be at most {MAX_GENERATIONS}, got {wanted}."
            raise refusal(Fault.INVALID_VALUE, predicate, ("n",))
        return self
