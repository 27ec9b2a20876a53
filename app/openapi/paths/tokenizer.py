"""Describes the routes of the tokenizer."""

from __future__ import annotations

from app.openapi.route import Route, json_answer, json_body
from protocol.errors import Fault
from protocol.tokenize import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest


def tokenizer_routes(model: str) -> tuple[Route, ...]:
    """The routes; their examples use `model`."""
    chat = {"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    return (
        Route(
            path="/tokenize",
            method="post",
            name="tokenize",
            tag="Tokenizer",
            summary="Turn a text into tokens",
            description="The tokens of a text, or of a chat as it is rendered for an answer. Nothing is generated.",
            generates=True,
            is_metered=True,
            body=json_body(TokenizeRequest, {"Text": {"model": model, "prompt": "The sky"}, "Chat": chat}),
            answers={200: json_answer("The tokens.", Tokenized)},
        ),
        Route(
            path="/detokenize",
            method="post",
            name="detokenize",
            tag="Tokenizer",
            summary="Turn tokens into a text",
            description="Special tokens are part of the text.",
            generates=True,
            is_metered=True,
            body=json_body(DetokenizeRequest, {"Tokens": {"model": model, "tokens": [1, 2, 3]}}),
            answers={200: json_answer("The text.", Detokenized)},
        ),
        Route(
            path="/tokenizer_info",
            method="get",
            name="tokenizerInfo",
            tag="Tokenizer",
            summary="Get the tokenizer's configuration",
            description="Only where the server shows it (`--tokenizer-info`). As in `tokenizer_config.json`, with the "
            "chat template.",
            answers={200: json_answer("The configuration.", {"type": "object"})},
            faults=(Fault.UNKNOWN_URL, Fault.ENGINE_NOT_READY, Fault.DRAINING),
        ),
    )
