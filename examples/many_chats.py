"""Many chats side by side on one WebSocket, one of which is cancelled while the others go on.

    .venv/bin/python examples/many_chats.py
    .venv/bin/python examples/many_chats.py "Hello" "Which options are there?" "Count from 1 to 900" --cancel-after 20

Each line that it prints is a chat that has ended. The last chat is cancelled after 10 pieces (`--cancel-after`): the
engine stops working for it at once, and the socket stays open for the others.
"""

import argparse
import asyncio
import sys

from twowire_client import Channel, ChannelError, ConnectionLost

QUESTIONS = ["Count from 1 to 20", "How do I serve my own model?", "List the days of the week", "Count from 1 to 900"]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key")
    parser.add_argument("--model", default="guide")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--cancel-after", type=int, default=10)
    return parser.parse_args()


async def ask(channel: Channel, given: argparse.Namespace, number: int) -> None:
    """Ask one question and read its answer to the end; the chat that is last is cancelled on the way."""
    is_last = number == len(given.questions)
    chat = await channel.create(
        model=given.model,
        messages=[{"role": "user", "content": given.questions[number - 1]}],
        max_completion_tokens=given.max_tokens,
        temperature=given.temperature,
    )
    text, pieces = "", 0
    async for chunk in chat:
        piece = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        text += piece
        pieces += bool(piece)
        if is_last and pieces == given.cancel_after:
            # What was generated until now still comes, then the end.
            await chat.cancel()
    assert chat.usage is not None, "a chat that has ended was counted"
    print(f"[{number}] {chat.status}, {chat.usage['completion_tokens']} tokens: {text.strip()!r}", flush=True)


async def main(given: argparse.Namespace) -> None:
    async with Channel.connect(given.url, api_key=given.api_key) as channel:
        chats = (ask(channel, given, number) for number in range(1, len(given.questions) + 1))
        await asyncio.gather(*chats)


if __name__ == "__main__":
    try:
        asyncio.run(main(options()))
    except (ChannelError, ConnectionLost) as error:
        sys.exit(f"error: {error}")
