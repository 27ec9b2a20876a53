"""The shapes of transcripts, for the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class TranscriptInputDetails(BaseModel):
    """What the input tokens stand for."""

    audio_tokens: int = Field(description="Sound: 50 tokens for each second, and for what fills the last half minute.")
    text_tokens: int = Field(description="The `prompt`, and what tells the model its task.")


class TranscriptUsage(BaseModel):
    """Tokens read and written (OpenAI's `TranscriptTextUsageTokens`)."""

    type: Literal["tokens"]
    input_tokens: int
    input_token_details: TranscriptInputDetails
    output_tokens: int
    total_tokens: int


class TranscriptLogprob(BaseModel):
    """A token's log probability."""

    token: str
    logprob: float
    bytes: list[int]


class Transcript(BaseModel):
    """The format `json` (OpenAI's `CreateTranscriptionResponseJson`)."""

    text: str = Field(description="The whole text.")
    logprobs: list[TranscriptLogprob] | None = Field(default=None, description="If `include` asks for them.")
    usage: TranscriptUsage


class DurationUsage(BaseModel):
    """The recording's length (OpenAI's `TranscriptTextUsageDuration`)."""

    type: Literal["duration"]
    seconds: int = Field(description="Rounded up.")


class TranscriptSegment(BaseModel):
    """A stretch of speech, usually a sentence (OpenAI's `TranscriptionSegment`)."""

    id: int
    seek: int = Field(description="The start in hundredths of a second.")
    start: float = Field(description="In seconds.")
    end: float = Field(description="In seconds.")
    text: str
    tokens: list[int] = Field(description="Always empty.")
    temperature: float
    avg_logprob: float = Field(description="The mean log probability of its tokens.")
    compression_ratio: float = Field(description="How much the text can be compressed: high if it repeats itself.")
    no_speech_prob: float = Field(description="Always 0: the engine does not compute it.")


class VerboseTranscript(BaseModel):
    """The format `verbose_json` (OpenAI's `CreateTranscriptionResponseVerboseJson`)."""

    task: Literal["transcribe", "translate"]
    language: str = Field(description="Of the text, by its English name in lower case.")
    duration: float = Field(description="Of the recording, in seconds.")
    text: str
    segments: list[TranscriptSegment]
    usage: DurationUsage


class TranscriptDelta(BaseModel):
    """An event of a stream (OpenAI's `TranscriptTextDeltaEvent`)."""

    type: Literal["transcript.text.delta"]
    delta: str = Field(description="The text that was added.")
    logprobs: list[TranscriptLogprob] | None = Field(default=None, description="If `include` asks for them.")


class TranscriptDone(BaseModel):
    """The last event of a stream (OpenAI's `TranscriptTextDoneEvent`)."""

    type: Literal["transcript.text.done"]
    text: str = Field(description="The whole text.")
    logprobs: list[TranscriptLogprob] | None = Field(default=None, description="If `include` asks for them.")
    usage: TranscriptUsage
