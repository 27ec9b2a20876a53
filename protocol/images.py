"""Images in requests: the content parts that carry them, and what the engine is given.

Nothing is read or fetched here: `engine.media` does that, when the model is known to take images.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from protocol.errors import Fault
from protocol.validation.request import RequestPart, refusal

MAX_URL_CHARS = 8192
"""The longest http(s) URL. A `data:` URL is as long as its image."""
MAX_DATA_HEADER_CHARS = 256
"""Where the comma of a `data:` URL must stand."""

_DATA_HEADER = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[\w.+-]+=[\w.+-]*)*;base64,", re.IGNORECASE | re.ASCII)

Detail = Literal["auto", "low", "high", "original"]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image of a request, not read yet: a `data:`, `http:` or `https:` URL, or base64 alone.

    `param` is the part of the request that it came in, for errors.
    """

    param: str
    url: str = field(default="", repr=False)
    base64: str = field(default="", repr=False)


def image_part(source: ImageSource) -> dict[str, Any]:
    """A part of a message's content for the engine: see `protocol.generation.ChatPrompt`."""
    return {"type": "image", "image": source}


def text_part(text: str) -> dict[str, Any]:
    """The same for text."""
    return {"type": "text", "text": text}


def has_media(messages: Iterable[dict[str, Any]]) -> bool:
    """Whether a message for the engine holds an image or sound."""
    return any(type(message["content"]) is list for message in messages)


def images_of(messages: Iterable[dict[str, Any]]) -> list[ImageSource]:
    """The images in messages for the engine, in their order."""
    return media_of(messages, "image")


def media_of(messages: Iterable[dict[str, Any]], kind: Literal["image", "audio"]) -> list[Any]:
    """What the parts of one kind hold, in their order."""
    return [
        part[kind]
        for message in messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == kind
    ]


def has_data_header(url: str) -> bool:
    """Whether a URL begins as `data:image/png;base64,` does."""
    return _DATA_HEADER.match(url, 0, MAX_DATA_HEADER_CHARS) is not None


def data_start(url: str) -> int:
    """Where the base64 of a `data:` URL begins."""
    return url.index(",") + 1


def is_http(url: str) -> bool:
    """Whether a URL is to be fetched."""
    return url[:8].lower().startswith(("https://", "http://"))


def check_url(url: str) -> str:
    """For a pydantic validator: refuse what is neither base64 in a `data:` URL nor to be fetched."""
    if is_http(url):
        if len(url) > MAX_URL_CHARS:
            raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_URL_CHARS} characters, got {len(url)}.")
        return url
    if url[:5].lower() != "data:":
        predicate = "must be a data: URL (data:image/png;base64,…), or begin with https:// or http://."
        raise refusal(Fault.INVALID_VALUE, predicate)
    if not has_data_header(url):
        raise refusal(Fault.INVALID_VALUE, "must begin as data:image/png;base64,… does: only base64 is read.")
    return url


Url = Annotated[str, AfterValidator(check_url)]


class ImageUrl(RequestPart):
    """Where an image is."""

    url: Url = Field(description="A `data:` URL with base64; or http(s), of a host that the server fetches from.")
    detail: Detail | None = Field(default=None, description="Accepted; the model decides how closely it looks.")


class ImageUrlPart(RequestPart):
    """An image, as chat completions have it."""

    type: Literal["image_url"]
    image_url: Annotated[
        ImageUrl, BeforeValidator(lambda given: {"url": given} if isinstance(given, str) else given)
    ] = Field(description="An object with the URL, or the URL.")

    @property
    def url(self) -> str:
        """Its URL."""
        return self.image_url.url


def _refuse_file(part: Any) -> Any:
    if isinstance(part, dict) and part.get("image_url") is None:
        if part.get("file_id") is not None:
            raise refusal(Fault.UNSUPPORTED_CONTENT, "is not supported: this server stores no files.", ("file_id",))
        raise refusal(Fault.MISSING_FIELD, "is required.", ("image_url",))
    return part


class InputImagePart(RequestPart):
    """An image, as OpenAI's Responses have it."""

    type: Literal["input_image"]
    image_url: Url = Field(description="A `data:` URL with base64; or http(s), of a host that the server fetches from.")
    detail: Detail | None = Field(default=None, description="Accepted; the model decides how closely it looks.")

    @property
    def url(self) -> str:
        """Its URL."""
        return self.image_url


IMAGE_PARTS = ("image_url", "input_image")
"""The types of a part that is an image. Chats begun with OpenAI's Responses have the second."""
ImagePart = ImageUrlPart | InputImagePart
CheckedInputImage = Annotated[InputImagePart, BeforeValidator(_refuse_file)]
