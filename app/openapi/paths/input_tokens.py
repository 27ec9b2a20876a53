"""Describes the route that counts the tokens of a response's input."""

from __future__ import annotations

from app.generation.table import RESPONSES
from app.openapi.route import Route, json_answer, json_body
from protocol.responses.request import ResponseRequest
from protocol.responses.schemas import InputTokenCount


def input_tokens_route(model: str) -> Route:
    """The route; its example uses `model`."""
    return Route(
        path=f"{RESPONSES.path}/input_tokens",
        method="post",
        name="countInputTokens",
        tag="Responses",
        summary="Count the tokens of an input",
        description="Renders the prompt that `POST /v1/responses` would, and counts it. Nothing is generated.",
        generates=True,
        is_metered=True,
        body=json_body(ResponseRequest, {"Count": {"model": model, "input": "Why is the sky blue?"}}),
        answers={200: json_answer("The number of tokens.", InputTokenCount)},
    )
