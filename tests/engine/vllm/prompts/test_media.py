"""How vLLM is given the images and sounds of a chat."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from engine.vllm.formats.system_messages import placed
from engine.vllm.prompts.media import after_results, filled, media_bytes_of, media_tokens_of
from protocol.images import ImageSource, image_part, text_part
from protocol.sounds import SoundSource, sound_part

A, B = image_part(ImageSource("a")), image_part(ImageSource("b"))


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def result(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "content": list(parts), "tool_call_id": "c"}


def test_pixels_take_the_places_of_sources() -> None:
    chat = [{"role": "system", "content": "Hi"}, user(A, text_part("and"), B)]
    system, said = filled(chat, ["pixels of a", "pixels of b"], [])
    assert system == chat[0]
    assert said["content"] == [
        {"type": "image_pil", "image_pil": "pixels of a"},
        text_part("and"),
        {"type": "image_pil", "image_pil": "pixels of b"},
    ]


def test_sounds_take_the_places_of_sources() -> None:
    heard = sound_part(SoundSource("b", "AAAA"))
    (said,) = filled([user(heard, A)], ["pixels"], ["data:audio/wav;base64,"])
    assert said["content"] == [
        {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,"}},
        {"type": "image_pil", "image_pil": "pixels"},
    ]


def test_a_tools_image_comes_in_the_users_next_message() -> None:
    tool, said = after_results([result(text_part("It:"), A, text_part("See?")), {"role": "user", "content": "Well?"}])
    assert tool == {"role": "tool", "content": "It:\nSee?", "tool_call_id": "c"}
    assert said == user(A, text_part("Well?"))


def test_the_images_of_several_results_come_after_the_last() -> None:
    first, second, said, answer = after_results([result(A), result(B), {"role": "assistant", "content": "Nice."}])
    assert (first["content"], second["content"], said) == ("(an image)", "(an image)", user(A, B))
    assert answer["role"] == "assistant"


def test_the_image_of_the_last_result_ends_the_chat() -> None:
    assert after_results([result(A)])[1:] == [user(A)]
    assert after_results([result(A), user(B)])[1:] == [user(A, B)]


def test_a_reminder_is_a_part_beside_an_image() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert placed([system, user(A)], "nowhere") == [user(text_part("Be brief."), A)]
    (said,) = placed([user(A), system], "nowhere")
    assert said["content"] == [A, text_part("<system-reminder>\nBe brief.\n</system-reminder>")]


class Place:
    def __init__(self, length: int) -> None:
        self.length = length


def test_images_cost_the_tokens_that_stand_for_them() -> None:
    assert media_tokens_of({"prompt_token_ids": [1, 2]}, "image") == 0
    engine_input = {"mm_placeholders": {"image": [Place(9), Place(4)], "audio": [Place(3)]}}
    assert [media_tokens_of(engine_input, kind) for kind in ("image", "audio")] == [13, 3]


def test_the_memory_of_images_is_counted() -> None:
    pixels, sizes = SimpleNamespace(data=[np.zeros((3, 4), "f4"), np.zeros(5, "u1")]), SimpleNamespace(data=7)
    items = [{"pixels": pixels, "sizes": sizes}, None, {"pixels": SimpleNamespace(data=np.zeros(2, "f4"))}]
    assert media_bytes_of({"mm_kwargs": {"image": items}}) == 48 + 5 + 8
    assert media_bytes_of({"prompt_token_ids": [1]}) == 0
