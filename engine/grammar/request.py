"""Checks the grammar of a request's answer, and finds the field to blame if it is refused."""

from __future__ import annotations

from typing import Protocol

from engine.grammar.constraint import Constraint, json_constraint
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest, JsonOutput, TextOutput


class Checker(Protocol):
    """What is needed of `engine.grammar.checker`."""

    async def check(self, constraint: Constraint, client: str, param: str) -> None: ...


async def check_constraint(
    grammars: Checker, constraint: Constraint | None, request: GenerationRequest, client: str
) -> None:
    """Return once the engine can apply `constraint`, the grammar of the request's answer.

    Raises `TwowireError`, as the checker does. A grammar may be made of several schemas: the error names the one that
    is refused by itself, such as `tools[2]`, or the field of all tools.
    """
    if constraint is None:
        return
    try:
        await grammars.check(constraint, client, request.constraint_field)
    except TwowireError as error:
        if error.fault is Fault.INVALID_SCHEMA and isinstance(request.constraint, TextOutput):
            # It is no JSON schema; the message says what it is.
            raise TwowireError(Fault.INVALID_VALUE, error.message, param=error.param) from error
        if error.fault is Fault.INVALID_SCHEMA and request.tools is not None:
            for number, tool in enumerate(request.tools.tools):
                if tool.followed is not None:
                    await grammars.check(json_constraint(tool.followed), client, f"{request.fields.tools}[{number}]")
            if isinstance(request.constraint, JsonOutput):
                await grammars.check(json_constraint(request.constraint.schema), client, request.fields.schema)
        raise
