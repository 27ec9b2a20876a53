"""The content of a message: text, or a list of parts, some of which may be images or sound."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeGuard

from pydantic import BeforeValidator, Discriminator, Field, Tag

from protocol.errors import Fault
from protocol.images import (
    IMAGE_PARTS,
    CheckedInputImage,
    ImagePart,
    ImageSource,
    ImageUrlPart,
    InputImagePart,
    image_part,
    text_part,
)
from protocol.sounds import SOUND_PARTS, AudioUrlPart, InputAudioPart, SoundPart, SoundSource, sound_part
from protocol.validation.request import RequestPart, Text, quoted, refusal

MAX_CONTENT_PARTS = 1024
TEXT_PARTS = ("text", "input_text", "output_text")
"""The types of a part that is text. Chats begun with OpenAI's Responses have the longer ones."""
IMAGE_ROLES = ("user", "tool", "function")
"""Whose messages may hold images."""
SOUND_ROLES = ("user",)
"""Whose messages may hold sound."""


class TextPart(RequestPart):
    """A piece of a message's text."""

    type: Literal["text", "input_text", "output_text"]
    text: Text


class RefusalPart(RequestPart):
    """What the assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: Text


AnyPart = TextPart | RefusalPart | ImagePart | SoundPart


def _refuse_other_media(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in (*TEXT_PARTS, *IMAGE_PARTS, *SOUND_PARTS, "refusal"):
        predicate = f"{quoted(kind)} is not supported: this server reads text, images and sound only."
        raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("type",))
    return part


def _part_kind(part: Any) -> str:
    # A part that is a model already comes from Python code, when a request is built by hand.
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return f"<{kind}>" if kind in ("refusal", *IMAGE_PARTS, *SOUND_PARTS) else "<text>"


def _content_shape(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<parts>" if isinstance(value, list) else None


ContentPart = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[RefusalPart, Tag("<refusal>")]
    | Annotated[ImageUrlPart, Tag("<image_url>")]
    | Annotated[CheckedInputImage, Tag("<input_image>")]
    | Annotated[InputAudioPart, Tag("<input_audio>")]
    | Annotated[AudioUrlPart, Tag("<audio_url>")],
    Discriminator(_part_kind),
    BeforeValidator(_refuse_other_media),
]
Content = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[ContentPart], Field(max_length=MAX_CONTENT_PARTS, fail_fast=True), Tag("<parts>")],
    Discriminator(
        _content_shape,
        custom_error_type=Fault.INVALID_TYPE.name,
        custom_error_message="must be a string or a list of content parts",
    ),
]


def is_image(part: AnyPart) -> TypeGuard[ImagePart]:
    """Whether a part is an image, of either API's form."""
    return isinstance(part, ImageUrlPart | InputImagePart)


def is_sound(part: AnyPart) -> TypeGuard[SoundPart]:
    """Whether a part is sound, in either form."""
    return isinstance(part, InputAudioPart | AudioUrlPart)


def text_of(content: str | list[AnyPart]) -> str:
    """The text of a content: its parts joined with nothing between, without images and sound."""
    return content if isinstance(content, str) else "".join(map(_part_text, content))


def _part_text(part: AnyPart) -> str:
    match part:
        case TextPart():
            return part.text
        case RefusalPart():
            return part.refusal
    return ""


def template_content(content: str | list[AnyPart], at: str) -> str | list[dict[str, Any]]:
    """The content of a message for the engine: its text, or where it holds images or sound, a list of parts.

    `at` is the path to `content` in the request.
    """
    if isinstance(content, str) or not any(is_image(part) or is_sound(part) for part in content):
        return text_of(content)
    parts: list[dict[str, Any]] = []
    for number, part in enumerate(content):
        if is_image(part):
            parts.append(image_part(ImageSource(f"{at}[{number}]", part.url)))
        elif is_sound(part):
            parts.append(sound_part(SoundSource(f"{at}[{number}]", part.base64)))
        elif text := _part_text(part):
            parts.append(text_part(text))
    return parts


def check_parts(content: str | list[AnyPart] | None, role: str) -> None:
    """For a pydantic validator: refuse parts that a message of `role` cannot have."""
    if not isinstance(content, list):
        return
    for index, part in enumerate(content):
        if role != "assistant" and isinstance(part, RefusalPart):
            at = ("content", index, "type")
            raise refusal(Fault.INVALID_VALUE, "'refusal' is only allowed for role 'assistant'.", at)
        if role not in IMAGE_ROLES and is_image(part):
            predicate = "is an image, which only messages of the user and of tools may hold."
            raise refusal(Fault.INVALID_VALUE, predicate, ("content", index))
        if role not in SOUND_ROLES and is_sound(part):
            raise refusal(Fault.INVALID_VALUE, "is sound, which only the user's messages may hold.", ("content", index))
