"""Stream an answer with OpenAI's Python library: print each piece as it comes, then how many tokens it took.

    .venv/bin/python examples/stream.py
    .venv/bin/python examples/stream.py "Count from 1 to 30" --max-tokens 100

Only `base_url` differs from a program for OpenAI's own service. A server without keys takes any `api_key`.
"""

import argparse
import sys

from openai import APIError, OpenAI


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="How do I serve my own model?")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="unused")
    parser.add_argument("--model", default="guide")
    parser.add_argument("--max-tokens", type=int, default=256)
    return parser.parse_args()


def main(given: argparse.Namespace) -> None:
    client = OpenAI(base_url=f"{given.url}/v1", api_key=given.api_key)
    stream = client.chat.completions.create(
        model=given.model,
        messages=[{"role": "user", "content": given.question}],
        max_completion_tokens=given.max_tokens,
        stream=True,
        # The last chunk then has no choices, but the number of tokens.
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage is not None:
            print(f"\n[{chunk.usage.prompt_tokens} tokens read, {chunk.usage.completion_tokens} generated]")


if __name__ == "__main__":
    try:
        main(options())
    except APIError as error:
        # The server is not there, is still loading, refuses the request, or failed midway.
        sys.exit(f"error: {error.message}")
