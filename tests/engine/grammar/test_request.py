"""Which field an error names if the grammar of an answer is refused."""

from __future__ import annotations

import pytest

from engine.grammar.constraint import Constraint, constraint_of, json_constraint
from engine.grammar.request import check_constraint
from protocol.errors import Fault, TwowireError
from protocol.generation import (
    ChatPrompt,
    FieldNames,
    GenerationRequest,
    JsonOutput,
    Sampling,
    TextOutput,
    Tool,
    Tools,
)


class Checker:
    """Refuses what contains a word."""

    def __init__(self, word: str) -> None:
        self._word = word

    async def check(self, constraint: Constraint, client: str, param: str) -> None:
        if self._word in constraint.text:
            raise TwowireError(Fault.INVALID_SCHEMA, "The JSON schema cannot be followed.", param=param)


def tool(name: str) -> Tool:
    schema = {"type": "object", "properties": {name: {"type": "string"}}}
    return Tool(name, None, schema, schema, is_strict=True)


@pytest.mark.parametrize(
    ("word", "tools", "param"),
    [
        ("second", (tool("first"), tool("second")), "tools[1]"),
        ("start", (tool("first"), tool("second")), "tools"),
        ("answer", (tool("first"),), "response_format.json_schema.schema"),
        ("answer", None, "response_format.json_schema.schema"),
        ("never", (tool("first"),), None),
    ],
)
async def test_the_schema_that_is_refused_is_named(
    word: str, tools: tuple[Tool, ...] | None, param: str | None
) -> None:
    wanted = JsonOutput({"properties": {"answer": {}}})
    request = GenerationRequest(ChatPrompt([]), Sampling(), constraint=wanted, tools=Tools(tools) if tools else None)
    whole = Constraint("grammar", "start: first second answer") if tools else json_constraint(wanted.schema)
    if param is None:
        await check_constraint(Checker(word), whole, request, "")
        return
    with pytest.raises(TwowireError) as caught:
        await check_constraint(Checker(word), whole, request, "")
    assert caught.value.param == param


async def test_what_is_no_schema_is_not_called_one() -> None:
    wanted = TextOutput("regex", "second(")
    request = GenerationRequest(ChatPrompt([]), Sampling(), constraint=wanted, fields=FieldNames(schema="guided_regex"))
    with pytest.raises(TwowireError) as caught:
        await check_constraint(Checker("second"), constraint_of(wanted), request, "")
    assert (caught.value.fault, caught.value.param) == (Fault.INVALID_VALUE, "guided_regex")
