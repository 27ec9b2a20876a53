"""Images in a chat's prompt: which the model takes, and how vLLM is given them.

vLLM would read images by itself: fetch any URL, follow redirects, and take ids of the client's as cache keys. It gets
none of that here, only pixels that `engine.media` has loaded.
"""

from __future__ import annotations

from typing import Any

from engine.api import Modality
from engine.media.decode import Load
from engine.media.limits import MediaLimits
from engine.media.loader import ImageLoader
from engine.vllm.prompts.render import Prompts
from protocol.errors import Fault, TwowireError
from protocol.images import ImageSource, images_of, text_part

Message = dict[str, Any]


class ImagePrompts:
    """Renders chats that hold images."""

    def __init__(self, renderer: Any, prompts: Prompts, limits: MediaLimits) -> None:
        self._prompts = prompts
        processor = renderer.mm_processor
        self._most: int = 0 if processor is None else processor.info.allowed_mm_limits.get("image", 0)
        self._loader = ImageLoader(limits, _load_of(renderer))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model takes."""
        return ("text", "image") if self._most else ("text",)

    async def chat(self, messages: list[Message], params: Any, tokens: Any) -> Any:
        """The engine's input for a chat with images. Raises what vLLM raises, or `TwowireError`."""
        messages = after_results(messages)
        sources = images_of(messages)
        self._check_count(sources)
        # vLLM's own cache for the engine core counts on each prompt reaching it, and in the order in which they were
        # rendered. Here prompts wait, are refused or cancelled in between.
        return await self._loader.use(
            sources, lambda images: self._prompts.chat_with_media(filled(messages, images), params, tokens)
        )

    def _check_count(self, sources: list[ImageSource]) -> None:
        if len(sources) > self._most:
            param = sources[self._most].param
            message = (
                f"{param}: a prompt may have at most {self._most} images, and there are {len(sources)} "
                "(the server's --limit-mm-per-prompt)."
            )
            raise TwowireError(Fault.INVALID_VALUE, message, param=param)

    async def close(self) -> None:
        """Stop loading."""
        await self._loader.close()


def _load_of(renderer: Any) -> Load:
    """What makes vLLM's object for an image of its file: as vLLM itself does it."""
    from vllm.multimodal.media.image import ImageMediaIO

    config = renderer.model_config.multimodal_config
    options = (config.media_io_kwargs or {}).get("image", {}) if config is not None else {}
    load: Load = ImageMediaIO(**options).load_bytes
    return load


def image_tokens_of(engine_input: Any) -> int:
    """How many of a prompt's tokens stand for images."""
    placeholders = engine_input.get("mm_placeholders")
    return sum(place.length for place in placeholders.get("image", ())) if placeholders else 0


def media_bytes_of(engine_input: Any) -> int:
    """The memory that a prompt's images take, as the model's processor has made them ready."""
    items_by_kind = engine_input.get("mm_kwargs")
    if not items_by_kind:
        return 0
    items = (item for items in items_by_kind.values() for item in items if item is not None)
    return sum(_nbytes(element.data) for item in items for element in item.values())


def _nbytes(data: Any) -> int:
    if isinstance(data, list | tuple):
        return sum(map(_nbytes, data))
    return int(getattr(data, "nbytes", 0))


def filled(messages: list[Message], images: list[Any]) -> list[Message]:
    """The messages with `images`, one for each source in their order, in the form in which vLLM takes pixels."""
    left = iter(images)
    return [
        message | {"content": [_filled(part, left) for part in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in messages
    ]


def _filled(part: dict[str, Any], images: Any) -> dict[str, Any]:
    return {"type": "image_pil", "image_pil": next(images)} if part["type"] == "image" else part


def after_results(messages: list[Message]) -> list[Message]:
    """The messages with the images of tools' results in a message of the user after them.

    Most templates write a result as text, and leave images out of it, or write their parts as Python would.
    """
    kept: list[Message] = []
    waiting: list[dict[str, Any]] = []
    for message in messages:
        content, role = message["content"], message["role"]
        if role == "tool" and isinstance(content, list):
            waiting += [part for part in content if part["type"] == "image"]
            content = "\n".join(part["text"] for part in content if part["type"] == "text")
            kept.append(message | {"content": content or "(an image)"})
            continue
        if waiting and role != "tool":
            if role == "user":
                own = content if isinstance(content, list) else [text_part(content)]
                message = message | {"content": [*waiting, *own]}
            else:
                kept.append({"role": "user", "content": waiting})
            waiting = []
        kept.append(message)
    return [*kept, {"role": "user", "content": waiting}] if waiting else kept
