"""Describes the route that counts the tokens of a prompt, in Anthropic's form."""

from __future__ import annotations

from app.generation.table import MESSAGES
from app.openapi.route import Route, json_answer, json_body
from protocol.messages.request import CountTokensRequest
from protocol.messages.schemas import MessagesErrorResponse, TokenCount


def count_tokens_route(model: str) -> Route:
    """The route; its example uses `model`."""
    example = {"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    return Route(
        path=f"{MESSAGES.path}/count_tokens",
        method="post",
        name="countMessageTokens",
        tag="Generation",
        summary="Count the tokens of a prompt",
        description="Renders the prompt that `POST /v1/messages` would, and counts it. Nothing is generated.",
        generates=True,
        is_metered=True,
        body=json_body(CountTokensRequest, {"Count": example}),
        answers={200: json_answer("The number of tokens.", TokenCount)},
        error=MessagesErrorResponse,
    )
