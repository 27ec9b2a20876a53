"""What the load generator asks for: chats of several shapes, none like another."""

from __future__ import annotations

from typing import Any

TURNS = 8
ANSWER = "You start the server with the path of the model's folder, and wait until it says that it is ready. "
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "steps": {"type": "array", "items": {"type": "string"}}},
    "required": ["answer", "steps"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Looks up the {name} of a model.",
            "parameters": {"type": "object", "properties": {"model": {"type": "string"}}, "required": ["model"]},
        },
    }
    for name in ("price", "size", "license", "language")
]
SHAPES = ("plain", "dialogue", "tools", "schema")
"""A question; the turns of dialogues, each a little longer than the one before it; a question with four tools offered,
or with a JSON schema for its answer."""


def body_of(number: int, model: str, prompt: str, tokens: int, shape: str = "plain") -> dict[str, Any]:
    """The body of the chat `number`."""
    messages = [{"role": "user", "content": f"{prompt} ({number})"}]
    if shape == "dialogue":
        dialogue, turn = divmod(number, TURNS)
        messages[0]["content"] = f"{prompt} ({dialogue})"
        for place in range(turn):
            messages.append({"role": "assistant", "content": ANSWER * 3 + str(place)})
            messages.append({"role": "user", "content": f"{prompt} I mean, after step {place}?"})
    body = {"model": model, "messages": messages, "max_completion_tokens": tokens, "ignore_eos": True}
    if shape == "tools":
        body["tools"] = TOOLS
    if shape == "schema":
        schema = {"name": "answer", "schema": SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body
