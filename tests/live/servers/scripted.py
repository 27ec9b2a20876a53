"""The engine's side of `tests.live.servers.dialogue`: raw text in steps, read by the server's own parsers."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from tokenizers import Tokenizer

from engine.api import EngineStream, FastPath, PreparedPrompt
from engine.config import GUIDE
from engine.parsing.formats import CALL_FORMATS
from engine.vllm.formats.find_format import NONE, find_format
from engine.vllm.formats.output_format import OutputFormat
from engine.vllm.formats.parsed_stream import ParsedStream, Parsing
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, JsonOutput
from protocol.output import Delta
from tests.live.servers.dialogue import THE_REQUEST, Dialogue

Reason = Literal["stop", "length"]


@dataclass(frozen=True)
class Answer:
    """The answer to one request: the steps of all choices."""

    steps: list[list[Delta]]
    hangs_after: int | None = None
    fails_after: int | None = None


class GuideTokenizer:
    """The guide's tokenizer without `transformers`, whose import takes seconds; enough for formats parsed here."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(GUIDE / "tokenizer.json"))

    def get_added_vocab(self) -> dict[str, int]:
        return {token.content: number for number, token in self._tokenizer.get_added_tokens_decoder().items()}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def pieces(self, text: str) -> list[str]:
        """The text of each token. A character of several tokens comes with the last of them, as when detokenized."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        starts = [start for start, _ in offsets[1:]] + [len(text)]
        return [text[start:end] for start, end in itertools.pairwise([0, *starts])] if offsets else []


_guide = functools.cache(GuideTokenizer)


@functools.cache
def _format(calls: str, thoughts: str) -> OutputFormat:
    tokenizer: Any = _guide()
    if calls not in (*CALL_FORMATS, NONE):
        # vLLM's parser wants more of it.
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(GUIDE)
    template = (GUIDE / "chat_template.jinja").read_text()
    return find_format(template, tokenizer, calls, thoughts, "scripted")


async def prepare(dialogue: Dialogue, request: GenerationRequest) -> PreparedPrompt:
    """As the real engine prepares a chat, but for its rendering. Raises `TwowireError`."""
    # A format that vLLM parses imports vLLM: some seconds, once.
    return await asyncio.to_thread(_prepared, dialogue, request)


def _prepared(dialogue: Dialogue, request: GenerationRequest) -> PreparedPrompt:
    found = replace(_format(dialogue.calls, dialogue.thoughts), thinks_by_default=dialogue.thinks_by_default)
    found.check(request)
    prompt_ids = _guide().encode(found.tags.think[0] + "\n") if dialogue.opened else [0]
    parsing = found.answer(request, prompt_ids).parsing
    return PreparedPrompt(len(prompt_ids), object(), answer_to(dialogue, request), parsing)


def open_stream(prompt: PreparedPrompt) -> tuple[EngineStream, ScriptedStream]:
    """The stream of a prepared prompt, and the part of it that can be made to die."""
    assert isinstance(prompt.sampling, Answer)
    stream = ScriptedStream(prompt.sampling)
    return (ParsedStream(stream, prompt.parsing) if isinstance(prompt.parsing, Parsing) else stream), stream


def asked(request: GenerationRequest) -> dict[str, Any]:
    """What the engine is asked, for a turn that is `THE_REQUEST`."""
    assert isinstance(request.prompt, ChatPrompt)
    return {
        "messages": request.prompt.messages,
        "template_kwargs": request.prompt.template_kwargs,
        "sampling": {name: value for name, value in asdict(request.sampling).items() if value is not None},
        "tools": [asdict(tool) for tool in request.tools.tools] if request.tools else None,
        "choice": asdict(request.tools.choice) if request.tools else None,
        "is_parallel": request.tools.is_parallel if request.tools else None,
        "thinks": request.thinks,
        "effort": request.effort,
        "max_thoughts": request.max_thoughts,
        "schema": dict(request.constraint.schema) if isinstance(request.constraint, JsonOutput) else None,
    }


def answer_to(dialogue: Dialogue, request: GenerationRequest) -> Answer:
    """The answer whose turn it is. Raises `TwowireError` if there is none."""
    assert isinstance(request.prompt, ChatPrompt)
    texts, begun = _turn(dialogue, request.prompt), ""
    if request.prompt.continue_final_message:
        begun = str(request.prompt.messages[-1]["content"])
    if texts == THE_REQUEST:
        texts = json.dumps(asked(request), ensure_ascii=False)
    choices: list[list[Delta]] = []
    for index in range(request.n):
        text = (texts if isinstance(texts, str) else texts[index]).removeprefix(begun)
        pieces, reason, stop_string = _limited(_tokens(text, dialogue.cut), request)
        choices.append(list(_deltas(index, pieces, dialogue.cut, reason)))
        choices[-1][-1].stop_string = stop_string
    steps = [[delta for delta in step if delta] for step in itertools.zip_longest(*choices)]
    return Answer(steps, dialogue.hangs_after, dialogue.fails_after)


def _turn(dialogue: Dialogue, chat: ChatPrompt) -> str | list[str]:
    # Neighbours count once: some clients send the calls of one answer as messages of their own.
    runs = [role for role, _ in itertools.groupby(chat.messages, lambda message: message["role"])]
    turn = runs.count("assistant") - chat.continue_final_message
    if turn >= len(dialogue.turns):
        raise TwowireError(Fault.INVALID_VALUE, f"The dialogue ended after {len(dialogue.turns)} turns.")
    return dialogue.turns[turn]


def _tokens(text: str, cut: str | int) -> list[str]:
    return list(text) if cut == "characters" else _guide().pieces(text)


def _limited(tokens: list[str], request: GenerationRequest) -> tuple[list[str], Reason, str | None]:
    """The tokens within the request's limits, why they end, and the stop string that did it.

    While a stop string may follow, text is held back as vLLM's detokenizer does it. The last token of an answer that
    the model ends has no text.
    """
    stops = request.sampling.stop or []
    held = max(map(len, stops), default=1) - 1
    limit = request.sampling.max_tokens or len(tokens) + 1
    seen, sent = "", 0
    pieces: list[str] = []
    for token in tokens[:limit]:
        seen += token
        found = min(((at, stop) for stop in stops if (at := seen.find(stop)) >= 0), default=None)
        if found is not None:
            return [*pieces, seen[sent : found[0]]], "stop", found[1]
        end = max(len(seen) - held, sent)
        pieces.append(seen[sent:end])
        sent = end
    if limit <= len(tokens):
        return [*pieces[:-1], pieces[-1] + seen[sent:]], "length", None
    return [*pieces, seen[sent:]], "stop", None


def _deltas(index: int, pieces: list[str], cut: str | int, reason: Reason) -> Iterator[Delta]:
    at, rng = 0, random.Random(cut)
    while at < len(pieces):
        size = len(pieces) if cut == "whole" else 1 if isinstance(cut, str) else rng.choice((1, 1, 2, 3, 7, 40))
        step = pieces[at : at + size]
        at += size
        yield Delta(index, "".join(step), len(step), reason if at >= len(pieces) else None)


class ScriptedStream:
    """One step a turn of the event loop; plain ones take the fast path, as vLLM's do."""

    cached_tokens = 0
    scheduled_at = None

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._steps = iter(answer.steps)
        self._tokens = 0
        self._is_ended = False
        self._is_dead = False
        self._woken = asyncio.Event()

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        while True:
            await asyncio.sleep(0)
            if self._has_come_to(self._answer.hangs_after) and not self._is_dead:
                return await self._hang()
            if self._is_ended:
                return None
            if self._is_dead or self._has_come_to(self._answer.fails_after):
                raise TwowireError(Fault.ENGINE_DIED, "The engine died while it generated.", retry_after_s=5)
            step = next(self._steps, None)
            if step is None:
                return None
            is_first, self._tokens = self._tokens == 0, self._tokens + sum(delta.tokens for delta in step)
            delta = step[0]
            is_plain = len(step) == 1 and delta.index == 0 and delta.finish_reason is None and not is_first
            if fast_path is None or not is_plain or not fast_path(delta.text, delta.tokens):
                return step

    def _has_come_to(self, tokens: int | None) -> bool:
        return tokens is not None and self._tokens >= tokens

    async def _hang(self) -> list[Delta] | None:
        if not self._is_ended:
            self._woken.clear()
            await self._woken.wait()
        return None if self._is_ended else []

    def wake(self) -> None:
        self._woken.set()

    async def cancel(self) -> None:
        await self.close()

    async def close(self) -> None:
        self._is_ended = True
        self.wake()

    def die(self) -> None:
        self._is_dead = True
        self.wake()
