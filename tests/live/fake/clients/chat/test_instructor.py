"""instructor: objects of pydantic from a chat, by a tool call or by a JSON schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import instructor
import openai
import pytest
from pydantic import BaseModel, field_validator

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server

CITY = '{"name": "Seoul", "is_large": true}'
CALL = f'<tool_call>\n{{"name": "City", "arguments": {CITY}}}\n</tool_call>'


class City(BaseModel):
    """A city."""

    name: str
    is_large: bool


def asking(dialogue: Dialogue) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Seoul is large. {dialogue}"}]}


@pytest.mark.parametrize(
    ("mode", "answer"),
    [
        (None, CALL),
        (instructor.Mode.JSON, CITY),
        (instructor.Mode.JSON_SCHEMA, CITY),
        (instructor.Mode.MD_JSON, f"```json\n{CITY}\n```"),
    ],
)
def test_an_object_is_made(mode: instructor.Mode | None, answer: str, server: Server) -> None:
    with server.sdk() as sdk:
        client = instructor.from_openai(sdk, mode) if mode else instructor.from_openai(sdk)
        made = client.chat.completions.create(response_model=City, **asking(Dialogue(answer)))
    assert made.model_dump() == {"name": "Seoul", "is_large": True}


def test_several_objects_are_made(server: Server) -> None:
    with server.sdk() as sdk:
        client = instructor.from_openai(sdk, instructor.Mode.PARALLEL_TOOLS)
        body = asking(Dialogue(CALL + CALL.replace("Seoul", "Busan")))
        wanted: Any = Iterable[City]
        made = list(client.chat.completions.create(response_model=wanted, **body))
    assert [city.name for city in made] == ["Seoul", "Busan"]


def test_an_object_comes_bit_by_bit(server: Server) -> None:
    with server.sdk() as sdk:
        client = instructor.from_openai(sdk)
        seen = list(client.chat.completions.create_partial(response_model=City, **asking(Dialogue(CALL))))
    assert seen[-1].model_dump() == {"name": "Seoul", "is_large": True}
    assert seen[0].model_dump() == {"name": None, "is_large": None}


def test_what_does_not_validate_is_asked_for_again(server: Server) -> None:
    class Upper(City):
        @field_validator("name")
        @classmethod
        def _is_upper(cls, name: str) -> str:
            if not name.isupper():
                raise ValueError("the name must be in capitals")
            return name

    first = '<tool_call>\n{"name": "Upper", "arguments": {"name": "Seoul", "is_large": true}}\n</tool_call>'
    with server.sdk() as sdk:
        client = instructor.from_openai(sdk)
        body = asking(Dialogue(first, first.replace("Seoul", "SEOUL")))
        made = client.chat.completions.create(response_model=Upper, max_retries=1, **body)
    assert made.name == "SEOUL"


async def test_an_asynchronous_client_gets_the_same(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused") as sdk:
        client = instructor.from_openai(sdk)
        made = await client.chat.completions.create(response_model=City, **asking(Dialogue(CALL)))
    assert made.model_dump() == {"name": "Seoul", "is_large": True}
