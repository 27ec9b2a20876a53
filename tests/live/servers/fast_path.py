"""Runs vLLM in this process, and answers the same prompts by the fast path and by the ordinary one; prints JSON.

Run by `tests/live/real/processes/test_fast_path.py`, which compares them.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from engine.api import FastPath, TextEngine
from engine.config import GUIDE, EngineConfig
from engine.registry import text_engine
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


async def ask(engine: TextEngine, number: int, question: dict[str, Any], path: str) -> dict[str, Any]:
    """One answer. On the path "alternating", every third step is refused."""
    fields = {"temperature": 0, **question}
    messages = [{"role": "user", "content": fields.pop("content")}]
    request = ChatCompletionRequest.model_validate({"model": "guide", "messages": messages, **fields})
    prepared = await engine.prepare(request.generation_request())
    stream = await engine.open(prepared.prompts[0], f"{path}-{number}")
    found: dict[str, Any] = {"text": "", "tokens": 0, "by_fast_path": 0, "finish_reason": None}

    def fast_path(text: str, tokens: int) -> bool:
        if path == "alternating" and found["tokens"] % 3 == 0:
            return False
        take(text, tokens)
        found["by_fast_path"] += 1
        return True

    def take(text: str, tokens: int) -> None:
        found["text"] += text
        found["tokens"] += tokens

    chosen: FastPath | None = None if path == "ordinary" else fast_path
    while (deltas := await stream.next(chosen)) is not None:
        for delta in deltas:
            take(delta.text, delta.tokens)
            found["finish_reason"] = delta.finish_reason or found["finish_reason"]
    return found


async def main() -> None:
    engine = await text_engine(EngineConfig(str(GUIDE), dtype="float32"))(lambda stage, progress=None, /: None)
    try:
        found = {
            path: await asyncio.gather(
                *(ask(engine, number, question, path) for number, question in enumerate(QUESTIONS))
            )
            for path in ("ordinary", "fast", "alternating")
        }
        print(json.dumps(found), flush=True)
    finally:
        await engine.close()


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    asyncio.run(main())
    # Its last act would be to look through all of vLLM's objects for cycles.
    os._exit(0)
