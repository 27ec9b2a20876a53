"""What a token costs the API server in plain chats, with tools offered, and inside a call: CPU time, without a socket.

    python -m bench.tools

An answer goes from the engine's text through parser, generation and encoder to the bytes of its events. Rounds of all
cases follow one another; a figure is the median of the rounds, a difference the median of each round's own.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from functools import partial

from app.generation.fast_path import EventSender
from app.generation.stream import LiveStream
from engine.api import EngineStream, FastPath, Prepared, PreparedPrompt
from engine.generation import Generation
from engine.parsing.argument_types import argument_types
from engine.parsing.formats import CALL_FORMATS
from engine.parsing.tagged import TaggedParser
from engine.vllm.formats.parsed_stream import ParsedStream, Parsing
from protocol import sse
from protocol.chat.chunks import ChatChunks
from protocol.chat.style import ChatStyle
from protocol.output import Delta

TYPES = {"write": argument_types({"type": "object", "properties": {"text": {"type": "string"}}})}
WORDS = (" the", " model", " writes", " one", " more", " word", ",", " then", " another", ".")
BEFORE = {
    "hermes": '<tool_call>\n{"name": "write", "arguments": {"text": "',
    "qwen3_coder": "<tool_call>\n<function=write>\n<parameter=text>\n",
    "glm45": "<tool_call>write\n<arg_key>text</arg_key>\n<arg_value>",
    "kimi_k2": '<|tool_call_begin|>functions.write:0<|tool_call_argument_begin|>{"text": "',
    "deepseek_v32": '<｜DSML｜invoke name="write">\n<｜DSML｜parameter name="text" string="true">',
    "mistral": '[TOOL_CALLS]write[ARGS]{"text": "',
    "llama3_json": '{"name": "write", "parameters": {"text": "',
    "pythonic": "[write(text='",
}
"""The beginning of a call, up to a long string."""
LENGTHS = (1000, 4000)


class Steps:
    """An engine's stream of texts, one token each, as fast as they are read."""

    cached_tokens = 0
    scheduled_at = None

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = iter(texts)
        self._is_first = True
        self._is_over = False

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        for text in self._texts:
            is_first, self._is_first = self._is_first, False
            if is_first or fast_path is None or not fast_path(text, 1):
                return [Delta(0, text, 1)]
        if self._is_over:
            return None
        self._is_over = True
        return [Delta(0, "", 1, "length")]

    def wake(self) -> None:
        pass

    async def cancel(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Sink:
    """Counts what would be written."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> bool:
        self.bytes += len(data)
        return True


async def cost_us(texts: Sequence[str], calls: str | None) -> float:
    """Microseconds of CPU per token of an answer of `texts`; `calls`: the format of calls, if tools are offered."""
    stream: EngineStream = Steps(texts)
    if calls is not None:
        found = CALL_FORMATS[calls]
        new = partial(TaggedParser, found.tags(), thinks=False, new_call=partial(found.new_call, TYPES))
        stream = ParsedStream(stream, Parsing(new))
    prepared = Prepared((PreparedPrompt(1, object(), object()),), 1)
    generation = Generation("bench", prepared, stream, on_end=lambda _: None)
    style = ChatStyle(has_tools=calls is not None)
    live = LiveStream("bench", generation, ChatChunks(answer_id="bench", model="m", created=0, style=style), 1)
    sink = Sink()
    sender = EventSender(sink)
    begun = time.process_time()
    while (events := await live.next(sender)) is not None:
        for event in events:
            sink.write(sse.before(event) + event + b"\n\n")
    spent = time.process_time() - begun
    await live.leave()
    return spent / len(texts) * 1e6


async def measured(rounds: int) -> dict[str, list[float]]:
    """The cost of each case, per round."""
    words = [WORDS[number % len(WORDS)] for number in range(4000)]
    cases: dict[str, tuple[Sequence[str], str | None]] = {"plain": (words, None)}
    for name, before in BEFORE.items():
        cases[f"{name}: content"] = (words, name)
        for tokens in LENGTHS:
            cases[f"{name}: arguments, {tokens:,} tokens"] = ([*_cut(before), *words[:tokens]], name)
    costs: dict[str, list[float]] = {case: [] for case in cases}
    for number in range(rounds + 1):
        for case, (texts, calls) in cases.items():
            cost = await cost_us(texts, calls)
            if number:  # The first warms up.
                costs[case].append(cost)
    return costs


def _cut(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def table(costs: dict[str, list[float]]) -> str:
    """The table of docs/explanation/performance.md: a row for each format."""
    plain = costs["plain"]

    def shown(case: str) -> str:
        return f"{statistics.median(costs[case]):.1f}"

    def added(case: str) -> str:
        return f"{statistics.median(one - other for one, other in zip(costs[case], plain, strict=True)):.1f}"

    lines = [
        "| µs of CPU per token | content | more than plain | arguments, 1,000 tokens | arguments, 4,000 tokens |",
        "|---|---|---|---|---|",
        f"| no tools | {shown('plain')} | | | |",
    ]
    for name in BEFORE:
        content, short, long = (
            f"{name}: {cell}" for cell in ("content", *(f"arguments, {n:,} tokens" for n in LENGTHS))
        )
        lines.append(f"| `{name}` | {shown(content)} | {added(content)} | {shown(short)} | {shown(long)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Measure what tools cost the front end for each token.")
    parser.add_argument("--rounds", type=int, default=7)
    print(table(asyncio.run(measured(parser.parse_args().rounds))))


if __name__ == "__main__":
    main()
