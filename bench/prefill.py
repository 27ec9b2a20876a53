"""The time to the first token of a long dialogue, with its prompt read ahead on the channel and without.

    python -m bench.prefill http://127.0.0.1:8000 [TOKENS] [ROUNDS]

Each round asks both ways, in turn, about a dialogue that the server has never seen. With the prompt read ahead, the
question is sent once that is done, as by a user who types for longer than that takes.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from typing import Any

from twowire_client import Channel

WORDS = ("sky", "blue", "light", "why", "model", "wire", "token", "answer", "time", "long", "and", "is", "the", "of")
QUESTION = "So why is the sky blue?"


def dialogue(words: int, rng: random.Random) -> list[dict[str, str]]:
    """A dialogue of so many words, in turns of fifty."""
    turns = []
    for number in range(0, words, 50):
        text = " ".join(rng.choices(WORDS, k=50))
        turns.append({"role": "assistant" if number // 50 % 2 else "user", "content": text})
    return turns if turns[-1]["role"] == "assistant" else [*turns, {"role": "assistant", "content": "Yes."}]


async def first_token_s(channel: Channel, body: dict[str, Any], turns: list[dict[str, str]]) -> tuple[float, Any]:
    """Seconds from the create to the first text, and the usage."""
    messages = [*turns, {"role": "user", "content": QUESTION}]
    began = time.perf_counter()
    generation = await channel.create(messages=messages, **body)
    took = 0.0
    async for chunk in generation:
        if not took and any(choice["delta"].get("content") for choice in chunk["choices"]):
            took = time.perf_counter() - began
    return took, generation.usage


async def main(url: str, tokens: int, rounds: int) -> None:
    """Measure, and print."""
    rng = random.Random(7)
    body: dict[str, Any] = {"model": "guide", "max_completion_tokens": 4, "temperature": 0, "ignore_eos": True}
    times: dict[bool, list[float]] = {False: [], True: []}
    prompt_tokens = 0
    async with Channel.connect(url) as channel:
        for number in range(-1, rounds):
            for is_ahead in (False, True):
                turns = dialogue(tokens, rng)
                if is_ahead:
                    await channel.prefill(messages=[*turns, {"role": "user", "content": "…"}], **body)
                took, usage = await first_token_s(channel, body, turns)
                prompt_tokens = usage["prompt_tokens"]
                if number >= 0:  # The first round warms up.
                    times[is_ahead].append(took)
                cached = usage["prompt_tokens_details"]["cached_tokens"]
                print(
                    f"{number} ahead={is_ahead}: {took * 1000:.1f} ms, {cached} of {prompt_tokens} cached", flush=True
                )
    without, ahead = (1000 * statistics.median(times[is_ahead]) for is_ahead in (False, True))
    ratio = statistics.median(one / other for one, other in zip(times[False], times[True], strict=True))
    print(f"{prompt_tokens} tokens: {without:.1f} ms, read ahead {ahead:.1f} ms: {ratio:.1f} times as early")


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    tokens, rounds = map(int, [*numbers, "1700", "10"][:2] if len(numbers) != 1 else [numbers[0], "10"])
    asyncio.run(main(url, tokens, rounds))
