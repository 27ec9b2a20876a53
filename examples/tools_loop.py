"""Let the model call a function, hand it the result, and repeat until it answers: on each of the three APIs.

    .venv/bin/python examples/tools_loop.py
    .venv/bin/python examples/tools_loop.py "Is it warm in Seoul?" --api messages

`chat` and `responses` use OpenAI's Python library, `messages` uses Anthropic's. The bundled guide can call tools, but
it is very small: another model makes more of the results.
"""

import argparse
import json
import sys
from typing import Any

import anthropic
import openai

MAX_ROUNDS = 5
NAME, DESCRIPTION = "get_weather", "The weather in a city"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def run(name: str, arguments: str) -> str:
    """What the call gives. A mistake of the model's is a result, too: it can correct it."""
    print(f"  calls {name}({arguments})", flush=True)
    try:
        city = json.loads(arguments)["city"]
    except (ValueError, KeyError, TypeError):
        return f"error: {NAME} needs a city"
    # A real program would look it up.
    return json.dumps({"city": city, "degrees": 21, "sky": "sunny"}) if name == NAME else f"error: call {NAME}"


def chat(given: argparse.Namespace) -> str:
    client = openai.OpenAI(base_url=f"{given.url}/v1", api_key=given.api_key)
    tool: Any = {"type": "function", "function": {"name": NAME, "description": DESCRIPTION, "parameters": SCHEMA}}
    turns: list[Any] = [{"role": "user", "content": given.question}]
    for _ in range(MAX_ROUNDS):
        answer = client.chat.completions.create(model=given.model, messages=turns, tools=[tool])
        message = answer.choices[0].message
        calls = [call for call in message.tool_calls or [] if call.type == "function"]
        if not calls:
            return message.content or ""
        turns.append(message)
        for call in calls:
            result = run(call.function.name, call.function.arguments)
            turns.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return f"(still calling after {MAX_ROUNDS} rounds)"


def responses(given: argparse.Namespace) -> str:
    client = openai.OpenAI(base_url=f"{given.url}/v1", api_key=given.api_key)
    items: list[Any] = [{"role": "user", "content": given.question}]
    tool: Any = {"type": "function", "name": NAME, "description": DESCRIPTION, "parameters": SCHEMA, "strict": False}
    previous: str | None = None
    for _ in range(MAX_ROUNDS):
        answer = client.responses.create(model=given.model, input=items, tools=[tool], previous_response_id=previous)
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return answer.output_text
        # The server keeps the dialogue: only what is new is sent.
        previous, items = answer.id, []
        for call in calls:
            result = run(call.name, call.arguments)
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
    return f"(still calling after {MAX_ROUNDS} rounds)"


def messages(given: argparse.Namespace) -> str:
    client = anthropic.Anthropic(base_url=given.url, api_key=given.api_key)
    turns: list[Any] = [{"role": "user", "content": given.question}]
    tool: Any = {"name": NAME, "description": DESCRIPTION, "input_schema": SCHEMA}
    for _ in range(MAX_ROUNDS):
        message = client.messages.create(model=given.model, max_tokens=512, messages=turns, tools=[tool])
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return "".join(block.text for block in message.content if block.type == "text")
        turns.append({"role": "assistant", "content": message.content})
        results: list[Any] = []
        for call in calls:
            result = run(call.name, json.dumps(call.input))
            results.append({"type": "tool_result", "tool_use_id": call.id, "content": result})
        turns.append({"role": "user", "content": results})
    return f"(still calling after {MAX_ROUNDS} rounds)"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="What is the weather in Rome?")
    parser.add_argument("--api", choices=["chat", "responses", "messages", "all"], default="all")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="unused")
    parser.add_argument("--model", default="guide")
    return parser.parse_args()


if __name__ == "__main__":
    given = options()
    try:
        for loop in (chat, responses, messages):
            if given.api in (loop.__name__, "all"):
                print(f"{loop.__name__}:", flush=True)
                print(f"  {loop(given)}", flush=True)
    except (openai.APIError, anthropic.APIError) as error:
        sys.exit(f"error: {error.message}")
