"""Requests to write down speech. https://platform.openai.com/docs/api-reference/audio"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, BinaryIO, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from protocol.audio.unsupported import SPEECH_FIELDS
from protocol.errors import Fault
from protocol.generation import FieldNames, GenerationRequest, Sampling, SpeechPrompt
from protocol.sampling import MAX_INT32, MinP, Seed, TopK
from protocol.validation.request import NO_NUL, ApiRequest, Text, refusal
from protocol.validation.unsupported_fields import FieldRule

MAX_PROMPT_CHARS = 16_384
"""Far more than the model reads of it."""

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
TIMED: tuple[Format, ...] = ("srt", "verbose_json", "vtt")
"""The formats that say when something was said."""
STREAMED: tuple[Format, ...] = ("json", "text")

Task = Literal["transcribe", "translate"]


class SpeechRequest(ApiRequest):
    """What transcriptions and translations share. The recording itself is the form's part `file`."""

    field_rules: ClassVar[Mapping[str, FieldRule]] = SPEECH_FIELDS
    task: ClassVar[Task]

    language: Annotated[str, Field(min_length=2, max_length=16), NO_NUL] | None = Field(
        default=None,
        description="The language that is spoken, as its code in ISO 639-1. Without it, the model listens to the first "
        "half minute to find it.",
    )
    prompt: Text = Field(
        default="",
        max_length=MAX_PROMPT_CHARS,
        description="What was said before, or names and terms to expect. The model reads its last 223 tokens.",
    )
    response_format: Format = Field(default="json", description="The form of the answer.")
    temperature: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Higher is more random; 0 always takes the likeliest token. It is never raised by itself.",
    )
    top_p: float | None = Field(
        default=None, ge=0, le=1, description="Sample from the likeliest tokens that make up this probability."
    )
    top_k: TopK = None
    min_p: MinP = None
    seed: Seed = None
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Against tokens by how often they occur in the piece's text."
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Against tokens that occur in the piece's text at all."
    )
    repetition_penalty: float | None = Field(
        default=None, gt=0, le=10, description="Above 1, against tokens that occur already."
    )
    max_completion_tokens: int | None = Field(
        default=None, ge=1, le=MAX_INT32, description="The most tokens for each piece of up to half a minute."
    )

    _speech: SpeechPrompt | None = PrivateAttr(default=None)

    @property
    def speech(self) -> SpeechPrompt:
        """The recording, once `attach` has been called."""
        assert self._speech is not None
        return self._speech

    def attach(self, file: BinaryIO) -> None:
        """Give the request its recording."""
        self._speech = SpeechPrompt(
            file, self.task, self.language, self.prompt, with_times=self.response_format in TIMED
        )

    @property
    def wants_logprobs(self) -> bool:
        """Whether the answer lists the tokens' log probabilities."""
        return False

    def generation_request(self) -> GenerationRequest:
        """The request as the engine takes it."""
        return GenerationRequest(
            self.speech,
            Sampling(
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                min_p=self.min_p,
                seed=self.seed,
                frequency_penalty=self.frequency_penalty,
                presence_penalty=self.presence_penalty,
                repetition_penalty=self.repetition_penalty,
                max_tokens=self.max_completion_tokens,
                logprobs=0 if self.wants_logprobs or self.response_format == "verbose_json" else None,
            ),
            is_streamed=self.stream,
            fields=FieldNames(prompt="prompt"),
        )

    @model_validator(mode="after")
    def _check_stream(self) -> SpeechRequest:
        if self.stream and self.response_format not in STREAMED:
            predicate = f"must be json or text if stream is true, got {self.response_format}."
            raise refusal(Fault.INVALID_VALUE, predicate, ("response_format",))
        return self


class TranscriptionRequest(SpeechRequest):
    """Writes down speech in its own language."""

    task = "transcribe"

    timestamp_granularities: list[Literal["segment", "word"]] = Field(
        default=[], max_length=8, description="With `verbose_json`: `segment`. Times of words are not supported."
    )
    include: list[Literal["logprobs"]] = Field(
        default=[], max_length=8, description="`logprobs` adds the tokens' log probabilities to the format `json`."
    )

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.include)

    @model_validator(mode="after")
    def _check_additions(self) -> TranscriptionRequest:
        if "word" in self.timestamp_granularities:
            raise refusal(Fault.UNSUPPORTED_FIELD, "does not support word.", ("timestamp_granularities",))
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise refusal(
                Fault.INVALID_VALUE,
                f"needs response_format verbose_json, got {self.response_format}.",
                ("timestamp_granularities",),
            )
        if self.include and self.response_format != "json":
            predicate = f"can hold logprobs with response_format json only, got {self.response_format}."
            raise refusal(Fault.INVALID_VALUE, predicate, ("include",))
        return self


class TranslationRequest(SpeechRequest):
    """Writes down speech in English."""

    task = "translate"
