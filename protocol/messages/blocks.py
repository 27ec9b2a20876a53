"""The content blocks of a message: what a client may send.

https://platform.claude.com/docs/en/api/messages. Members that only matter to Anthropic's servers (`cache_control`,
`citations`, `caller`) are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from protocol.errors import Fault
from protocol.images import ImageSource, Url, image_part, text_part
from protocol.validation.request import NO_NUL, RequestPart, Text, is_nested_deeper, quoted, refusal, shown

MAX_BLOCKS = 1024
MAX_INPUT_DEPTH = 64

TemplateContent = str | list[dict[str, Any]]
CallId = Annotated[str, Field(min_length=1, max_length=256), NO_NUL]


class TextBlock(RequestPart):
    """Text."""

    type: Literal["text"]
    text: Text


class ThinkingBlock(RequestPart):
    """What the assistant thought. Any signature is accepted: only the text matters here."""

    type: Literal["thinking"]
    thinking: Text
    signature: str | None = None


class RedactedThinkingBlock(RequestPart):
    """Thoughts that only the server that made them can read: dropped here."""

    type: Literal["redacted_thinking"]
    data: str | None = None


def _check_input(arguments: dict[str, Any]) -> dict[str, Any]:
    # A template writes arguments with a recursive encoder, which deep ones would end.
    if is_nested_deeper(arguments, MAX_INPUT_DEPTH):
        raise refusal(Fault.INVALID_VALUE, f"must be nested at most {MAX_INPUT_DEPTH} levels deep.")
    return arguments


class ToolUseBlock(RequestPart):
    """A call that the assistant made."""

    type: Literal["tool_use"]
    id: CallId
    name: Annotated[str, Field(min_length=1, max_length=256), NO_NUL]
    input: Annotated[dict[str, Any], AfterValidator(_check_input)]


class DocumentSource(RequestPart):
    """The text of a document."""

    type: Literal["text"]
    media_type: str | None = None
    data: Text


def _refuse_other_sources(source: Any) -> Any:
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(kind, str) and kind != "text":
        predicate = f"{quoted(kind)} is not supported: this server reads documents as plain text only."
        raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("type",))
    return source


class DocumentBlock(RequestPart):
    """A document of plain text."""

    type: Literal["document"]
    source: Annotated[DocumentSource, BeforeValidator(_refuse_other_sources)]
    title: Text | None = None
    context: Text | None = None

    @property
    def text(self) -> str:
        """Title, context and text."""
        return "\n".join(part for part in (self.title, self.context, self.source.data) if part)


class SearchResultBlock(RequestPart):
    """What a search of the client's has found."""

    type: Literal["search_result"]
    source: Text
    title: Text
    content: Annotated[list[TextBlock], Field(max_length=MAX_BLOCKS, fail_fast=True)]

    @property
    def text(self) -> str:
        """Title, source and text."""
        return "\n".join(part for part in (self.title, self.source, *(block.text for block in self.content)) if part)


class Base64Source(RequestPart):
    """An image's bytes."""

    type: Literal["base64"]
    media_type: str | None = Field(default=None, description="Such as `image/png`. The bytes themselves say it too.")
    data: str = Field(min_length=1, description="Base64.")


class UrlSource(RequestPart):
    """Where an image is."""

    type: Literal["url"]
    url: Url = Field(description="http(s), of a host that the server fetches from; or a `data:` URL.")


def _known_source(source: Any) -> Any:
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(kind, str) and kind not in ("base64", "url"):
        predicate = f"{quoted(kind)} is not supported: this server reads images as base64, or from a URL."
        raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("type",))
    return source


class ImageBlock(RequestPart):
    """An image."""

    type: Literal["image"]
    source: Annotated[
        Annotated[Base64Source, Tag("<base64>")] | Annotated[UrlSource, Tag("<url>")],
        Discriminator(lambda source: _kind(source)),
        BeforeValidator(_known_source),
    ]

    def read(self, param: str) -> ImageSource:
        """The image for the engine; `param` is the block's path in the request."""
        if isinstance(self.source, Base64Source):
            return ImageSource(param, base64=self.source.data)
        return ImageSource(param, self.source.url)


def _kind(block: Any) -> str:
    # A block that is a model already comes from Python code, when a request is built by hand.
    kind = block.get("type") if isinstance(block, dict) else getattr(block, "type", None)
    return f"<{kind}>"


def _only(*kinds: str) -> BeforeValidator:
    """Refuse blocks of other types by their name."""

    def check(block: Any) -> Any:
        if not isinstance(block, dict):
            if not isinstance(block, RequestPart):
                raise refusal(Fault.INVALID_TYPE, f"must be an object, got {shown(block)}.")
            return block
        kind = block.get("type")
        if kind is None:
            raise refusal(Fault.MISSING_FIELD, "is required.", ("type",))
        if not isinstance(kind, str):
            raise refusal(Fault.INVALID_TYPE, "must be a string.", ("type",))
        if kind not in kinds:
            known = ", ".join(kinds)
            predicate = (
                f"{quoted(kind)} is not supported: this server does not read it here, and runs no tools ({known})."
            )
            raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("type",))
        return block

    return BeforeValidator(check)


def _shape(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<blocks>" if isinstance(value, list) else None


_TEXT = Tag("<text>")
_BLOCKS = (Field(max_length=MAX_BLOCKS, fail_fast=True), Tag("<blocks>"))
_TEXT_OR_BLOCKS = Discriminator(
    _shape,
    custom_error_type=Fault.INVALID_TYPE.name,
    custom_error_message="must be a string or a list of content blocks",
)

OnlyText = Annotated[TextBlock, _only("text")]
Readable = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")],
    Discriminator(_kind),
    _only("text", "image", "document", "search_result"),
]


ResultContent = Annotated[Annotated[Text, _TEXT] | Annotated[list[Readable], *_BLOCKS], _TEXT_OR_BLOCKS]


class ToolResultBlock(RequestPart):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: CallId
    content: ResultContent | None = None
    is_error: bool | None = None

    def template_content(self, at: str) -> TemplateContent:
        """What the engine is given: the text, which says so if the call failed; with images, parts."""
        content = template_content(self.content, at)
        if not self.is_error:
            return content
        if isinstance(content, list):
            return [text_part("Error:"), *content]
        return content if content.startswith(("Error", "<tool_use_error>")) else f"Error: {content}"


UserBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ImageBlock, Tag("<image>")]
    | Annotated[DocumentBlock, Tag("<document>")]
    | Annotated[SearchResultBlock, Tag("<search_result>")]
    | Annotated[ToolResultBlock, Tag("<tool_result>")],
    Discriminator(_kind),
    _only("text", "image", "document", "search_result", "tool_result"),
]
AssistantBlock = Annotated[
    Annotated[TextBlock, Tag("<text>")]
    | Annotated[ThinkingBlock, Tag("<thinking>")]
    | Annotated[RedactedThinkingBlock, Tag("<redacted_thinking>")]
    | Annotated[ToolUseBlock, Tag("<tool_use>")],
    Discriminator(_kind),
    _only("text", "thinking", "redacted_thinking", "tool_use"),
]

SystemContent = Annotated[Annotated[Text, _TEXT] | Annotated[list[OnlyText], *_BLOCKS], _TEXT_OR_BLOCKS]
UserContent = Annotated[Annotated[Text, _TEXT] | Annotated[list[UserBlock], *_BLOCKS], _TEXT_OR_BLOCKS]
AssistantContent = Annotated[Annotated[Text, _TEXT] | Annotated[list[AssistantBlock], *_BLOCKS], _TEXT_OR_BLOCKS]


def text_of(content: str | list[Any] | None) -> str:
    """The text of a content that holds no images: its blocks, separated by line breaks."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(block.text for block in content)


def template_content(content: str | list[Any] | None, at: str) -> TemplateContent:
    """A content, without calls, results and thoughts, for the engine: its text, or where it holds images, parts.

    `at` is the content's path in the request. Results of calls are left out.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not any(isinstance(block, ImageBlock) for block in content):
        return text_of([block for block in content if not isinstance(block, ToolResultBlock)])
    parts: list[dict[str, Any]] = []
    for number, block in enumerate(content):
        if isinstance(block, ImageBlock):
            parts.append(image_part(block.read(f"{at}[{number}]")))
        elif isinstance(block, ToolResultBlock) or not block.text:
            continue
        elif parts and parts[-1]["type"] == "text":
            parts[-1] = text_part(f"{parts[-1]['text']}\n{block.text}")
        else:
            parts.append(text_part(block.text))
    return parts
