"""Images and sound in a chat's prompt: which the model takes, and how vLLM is given them.

vLLM would read both by itself: fetch any URL, follow redirects, and take ids of the client's as cache keys. It gets
none of that here, only pixels that `engine.media.loader` has loaded, and WAV files that `engine.media.sounds` has made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.api import Modality
from engine.config import EngineConfig
from engine.media.decode import Load
from engine.media.loader import ImageLoader
from engine.media.sounds import MAX_SOUNDS, SoundLoader
from engine.vllm.prompts.render import Prompts
from protocol.errors import Fault, TwowireError
from protocol.images import ImageSource, images_of, text_part
from protocol.sounds import SoundSource, sounds_of

Message = dict[str, Any]

RATE = 16000
"""Samples a second, where the model does not say what it takes."""
CUT_AFTER_S = {"qwen2_audio": 30.0, "gemma3n": 30.0}
"""Model types whose processor in vLLM 0.32 silently leaves out what comes later in a sound."""


class MediaPrompts:
    """Renders chats that hold images or sound."""

    def __init__(self, renderer: Any, prompts: Prompts, config: EngineConfig) -> None:
        self._prompts = prompts
        processor = renderer.mm_processor
        limits: dict[str, int] = {} if processor is None else processor.info.allowed_mm_limits
        self._most = {"images": limits.get("image", 0), "sounds": min(limits.get("audio", 0), MAX_SOUNDS)}
        self._images = ImageLoader(config.media, _load_of(renderer))
        cut_after_s = CUT_AFTER_S.get(renderer.model_config.hf_config.model_type)
        self._sounds = SoundLoader(config.speech, _rate_of(processor), cut_after_s)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model takes."""
        images: tuple[Modality, ...] = ("image",) if self._most["images"] else ()
        sounds: tuple[Modality, ...] = ("audio",) if self._most["sounds"] else ()
        return ("text", *images, *sounds)

    async def chat(self, messages: list[Message], params: Any, tokens: Any) -> Any:
        """The engine's input for a chat with images or sound. Raises what vLLM raises, or `TwowireError`."""
        messages = after_results(messages)
        images, sounds = images_of(messages), sounds_of(messages)
        self._check_count("images", images)
        self._check_count("sounds", sounds)

        async def with_sounds(urls: list[str]) -> Any:
            async def with_images(pixels: list[Any]) -> Any:
                # vLLM's own cache for the engine core counts on each prompt reaching it, and in the order in which
                # they were rendered. Here prompts wait, are refused or cancelled in between.
                return await self._prompts.chat_with_media(filled(messages, pixels, urls), params, tokens)

            return await (self._images.use(images, with_images) if images else with_images([]))

        return await (self._sounds.use(sounds, with_sounds) if sounds else with_sounds([]))

    def _check_count(self, name: str, sources: Sequence[ImageSource | SoundSource]) -> None:
        most = self._most[name]
        if len(sources) > most:
            param = sources[most].param
            message = (
                f"{param}: a prompt may have at most {most} {name}, and there are {len(sources)} "
                "(the server's --limit-mm-per-prompt)."
            )
            raise TwowireError(Fault.INVALID_VALUE, message, param=param)

    async def close(self) -> None:
        """Stop loading."""
        await self._images.close()


def _load_of(renderer: Any) -> Load:
    """What makes vLLM's object for an image of its file: as vLLM itself does it."""
    from vllm.multimodal.media.image import ImageMediaIO

    config = renderer.model_config.multimodal_config
    options = (config.media_io_kwargs or {}).get("image", {}) if config is not None else {}
    load: Load = ImageMediaIO(**options).load_bytes
    return load


def _rate_of(processor: Any) -> int:
    """How many samples a second the model takes."""
    parser = getattr(processor, "data_parser", None)
    rate = getattr(getattr(parser, "audio_resampler", None), "target_sr", None)
    return int(rate) if rate else RATE


def media_tokens_of(engine_input: Any, modality: Modality) -> int:
    """How many of a prompt's tokens stand for images, or for sound."""
    placeholders = engine_input.get("mm_placeholders")
    return sum(place.length for place in placeholders.get(modality, ())) if placeholders else 0


def media_bytes_of(engine_input: Any) -> int:
    """The memory that a prompt's images and sounds take, as the model's processor has made them ready."""
    items_by_kind = engine_input.get("mm_kwargs")
    if not items_by_kind:
        return 0
    items = (item for items in items_by_kind.values() for item in items if item is not None)
    return sum(_nbytes(element.data) for item in items for element in item.values())


def _nbytes(data: Any) -> int:
    if isinstance(data, list | tuple):
        return sum(map(_nbytes, data))
    return int(getattr(data, "nbytes", 0))


def filled(messages: list[Message], images: list[Any], sounds: list[str]) -> list[Message]:
    """The messages with `images` and `sounds`, one for each source in their order, as vLLM takes pixels and URLs."""
    pixels, urls = iter(images), iter(sounds)
    return [
        message | {"content": [_filled(part, pixels, urls) for part in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in messages
    ]


def _filled(part: dict[str, Any], pixels: Iterator[Any], urls: Iterator[str]) -> dict[str, Any]:
    match part["type"]:
        case "image":
            return {"type": "image_pil", "image_pil": next(pixels)}
        case "audio":
            return {"type": "audio_url", "audio_url": {"url": next(urls)}}
    return part


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
