"""Sound in chats: the content parts that carry it, and what the engine is given.

Nothing is read here: `engine.media.sounds` does that, when the model is known to take sound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from protocol.errors import Fault
from protocol.images import data_start, has_data_header, media_of
from protocol.validation.request import RequestPart, refusal


@dataclass(frozen=True, slots=True)
class SoundSource:
    """A sound of a request, as base64, not read yet. `param` is the part of the request that it came in, for errors."""

    param: str
    base64: str = field(repr=False)


def sound_part(source: SoundSource) -> dict[str, Any]:
    """A part of a message's content for the engine: see `protocol.generation.ChatPrompt`."""
    return {"type": "audio", "audio": source}


def sounds_of(messages: Iterable[dict[str, Any]]) -> list[SoundSource]:
    """The sounds in messages for the engine, in their order."""
    return media_of(messages, "audio")


def _check_url(url: str) -> str:
    if not has_data_header(url):
        predicate = "must begin as data:audio/wav;base64,… does: sound is not fetched."
        raise refusal(Fault.INVALID_VALUE, predicate)
    return url


class InputAudio(RequestPart):
    """A sound's bytes."""

    data: str = Field(description="The file, as base64.")
    format: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Such as `wav` or `mp3`. The bytes themselves say it, too."
    )


class InputAudioPart(RequestPart):
    """A sound, as OpenAI's APIs have it."""

    type: Literal["input_audio"]
    input_audio: InputAudio

    @property
    def base64(self) -> str:
        """The file."""
        return self.input_audio.data


class AudioUrl(RequestPart):
    """Where a sound is: in the URL itself."""

    url: Annotated[str, AfterValidator(_check_url)] = Field(description="A `data:` URL with base64.")


class AudioUrlPart(RequestPart):
    """A sound, as vLLM's clients send it."""

    type: Literal["audio_url"]
    audio_url: Annotated[
        AudioUrl, BeforeValidator(lambda given: {"url": given} if isinstance(given, str) else given)
    ] = Field(description="An object with the URL, or the URL.")

    @property
    def base64(self) -> str:
        """The file."""
        return self.audio_url.url[data_start(self.audio_url.url) :]


SOUND_PARTS = ("input_audio", "audio_url")
"""The types of a part that is sound."""
SoundPart = InputAudioPart | AudioUrlPart
