"""Runs vLLM in this process, and answers the same prompts by the short way and by the long one; prints JSON.

Does not know what is right: `tests/live/test_short_path.py` does.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from engine.api import EngineConfig, Relay, TextEngine
from engine.registry import GUIDE, text_engine
from protocol.chat.request import ChatCompletionRequest

QUESTIONS: list[dict[str, Any]] = [
    {"content": "Count from 1 to 60."},
    {"content": "How do I serve my own model?"},
    {"content": "모델을 어떻게 바꾸나요?"},
    {"content": "Hello", "ignore_eos": True, "max_completion_tokens": 90, "temperature": 1.5, "seed": 11},
    {"content": "Count from 1 to 60.", "stop": ["21, 23", "31, 32"]},
    {"content": "Count from 1 to 60.", "stop": ["17"]},
    {"content": "Hello", "max_completion_tokens": 1},
    {"content": "Count from 1 to 30.", "logprobs": True, "max_completion_tokens": 8},
]


async def ask(engine: TextEngine, number: int, question: dict[str, Any], way: str) -> dict[str, Any]:
    """One answer; by the way «alternating», every third step is refused by the relay."""
    fields = {"temperature": 0, **question}
    messages = [{"role": "user", "content": fields.pop("content")}]
    request = ChatCompletionRequest.model_validate({"model": "guide", "messages": messages, **fields})
    prepared = await engine.prepare(request.generation_request())
    stream = await engine.open(prepared.prompts[0], f"{way}-{number}")
    found: dict[str, Any] = {"text": "", "tokens": 0, "relayed": 0, "finish_reason": None}

    def relay(text: str, tokens: int) -> bool:
        if way == "alternating" and found["tokens"] % 3 == 0:
            return False
        take(text, tokens)
        found["relayed"] += 1
        return True

    def take(text: str, tokens: int) -> None:
        found["text"] += text
        found["tokens"] += tokens

    chosen: Relay | None = None if way == "long" else relay
    while (deltas := await stream.next(chosen)) is not None:
        for delta in deltas:
            take(delta.text, delta.tokens)
            found["finish_reason"] = delta.finish_reason or found["finish_reason"]
    return found


async def main() -> None:
    engine = await text_engine(EngineConfig(str(GUIDE), dtype="float32"))(lambda stage: None)
    try:
        found = {
            way: await asyncio.gather(
                *(ask(engine, number, question, way) for number, question in enumerate(QUESTIONS))
            )
            for way in ("long", "short", "alternating")
        }
        print(json.dumps(found), flush=True)
    finally:
        await engine.close()


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    asyncio.run(main())
    # Its last act would be to look through all of vLLM's objects for cycles.
    os._exit(0)
