"""The bundled model in the server: it counts, knows what it is for, declines the rest, and says what transformers says.

How often it is right is told by `make guide-eval`; here stand the things that other tests and the documents rest on.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.config import GUIDE
from tests.live.servers.server import MODEL, Server
from training.dialogues.skills import counted
from training.dialogues.topics import HELD_OUT, read_toml
from training.evaluate import DECLINED

COMPARED = 20
LIMIT_TOKENS = 700


def ask(server: Server, question: str) -> str:
    answer = server.sdk().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_completion_tokens=LIMIT_TOKENS,
    )
    assert answer.choices[0].finish_reason == "stop"
    return answer.choices[0].message.content or ""


@pytest.mark.parametrize(
    ("question", "first", "last"),
    [
        ("Count from 1 to 300", 1, 300),
        ("Count from 680 to 750", 680, 750),
        ("95부터 120까지 세어 줘", 95, 120),
    ],
)
def test_it_counts(server: Server, question: str, first: int, last: int) -> None:
    assert ask(server, question) == counted(first, last)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is twowire?", "vLLM"),
        ("How do I serve my own model?", "--model"),
        ("포트를 어떻게 바꾸나요?", "--port"),
        ("How do I cancel a chat on the WebSocket?", "cancel"),
    ],
)
def test_it_knows_the_server(server: Server, question: str, word: str) -> None:
    assert word in ask(server, question)


@pytest.mark.parametrize(
    ("question", "language"), [("Who won the football world cup?", "en"), ("프랑스의 수도는 어디예요?", "ko")]
)
def test_it_declines_everything_else(server: Server, question: str, language: Any) -> None:
    assert DECLINED[language] in ask(server, question)


async def test_it_says_in_the_server_what_it_says_in_transformers(server: Server) -> None:
    # Here, because importing torch takes seconds.
    from training.answering import Answering

    questions = [question["text"] for question in read_toml(HELD_OUT / "topics.toml")["question"]]
    asked = questions[:: len(questions) // COMPARED][:COMPARED]

    def by_transformers() -> list[str]:
        alone = Answering(GUIDE)
        prompts = [alone.prompt([{"role": "user", "content": question}]) for question in asked]
        return alone.answers(prompts, max_tokens=LIMIT_TOKENS)

    expected = await asyncio.to_thread(by_transformers)
    said = await asyncio.gather(*(asyncio.to_thread(ask, server, question) for question in asked))
    assert dict(zip(asked, said, strict=True)) == dict(zip(asked, expected, strict=True))
