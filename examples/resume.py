"""One answer over two wires: begun on the WebSocket, cut, read on by server-sent events, cut, and back, to its end.

    .venv/bin/python examples/resume.py
    .venv/bin/python examples/resume.py "Count from 1 to 200" --chunks 20

Every chunk has a number, the same on both wires. With the answer's id, its resume token and the number of the last
chunk that came, any new connection goes on without a gap or a repetition. Nothing but the packages `websockets` and
`httpx` is used here, to show what goes over the wire; the finished clients resume by themselves.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

PATH = "/v1/chat/completions"
GRACE_S = 30
"""For how long the server goes on with the answer while nobody reads it."""


@dataclass
class Answer:
    id: str = ""
    token: str = ""
    seq: int = 0
    text: str = ""
    is_over: bool = False

    def add(self, seq: int, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise ValueError(chunk["error"]["message"])
        if seq != self.seq + 1:
            raise ValueError(f"chunk {seq} came after chunk {self.seq}")
        self.seq = seq
        self.text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="Count from 1 to 100")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="unused")
    parser.add_argument("--model", default="guide")
    parser.add_argument("--chunks", type=int, default=25, help="how many to read on a connection before it is cut")
    return parser.parse_args()


async def read_websocket(given: argparse.Namespace, answer: Answer) -> None:
    frame: dict[str, Any] = {"stream_id": "a"}
    if answer.id:
        frame |= {"type": "chat.completion.resume", "id": answer.id, "resume_token": answer.token}
        frame["starting_after"] = answer.seq
    else:
        body = {"model": given.model, "messages": [{"role": "user", "content": given.question}]}
        frame |= {"type": "chat.completion.create", "body": body, "resume": {"grace_s": GRACE_S}}
    last = answer.seq + given.chunks
    headers = {"Authorization": f"Bearer {given.api_key}"}
    async with connect(given.url.replace("http", "ws", 1) + PATH, additional_headers=headers, max_size=None) as socket:
        await socket.send(json.dumps(frame))
        async for message in socket:
            frame = json.loads(message)
            match frame["type"]:
                case "chat.completion.created":
                    answer.id, answer.token = frame["id"], frame["resume_token"]
                case "chat.completion.chunk":
                    answer.add(frame["seq"], frame["data"])
                    if answer.seq == last:
                        # Without a goodbye, as when a cable is cut.
                        socket.transport.abort()
                        return
                case "chat.completion.done":
                    answer.is_over = True
                    return
                case "error":
                    raise ValueError(frame["error"]["message"])
                case "ping":
                    await socket.send(json.dumps({"type": "pong", "t": frame["t"]}))


async def read_events(given: argparse.Namespace, answer: Answer) -> None:
    url = f"{given.url}{PATH}/{answer.id}/stream?starting_after={answer.seq}"
    headers = {"Authorization": f"Bearer {given.api_key}", "Twowire-Resume-Token": answer.token}
    last, seq = answer.seq + given.chunks, 0
    async with httpx.AsyncClient(timeout=60) as client, client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                seq = int(value)
            elif line == "data: [DONE]":
                answer.is_over = True
            elif field == "data":
                answer.add(seq, json.loads(value))
            if answer.is_over or answer.seq == last:
                return


async def main(given: argparse.Namespace) -> None:
    answer, connections = Answer(), 0
    while not answer.is_over:
        name, read = [("WebSocket", read_websocket), ("server-sent events", read_events)][connections % 2]
        first, seen = answer.seq + 1, len(answer.text)
        await read(given, answer)
        connections += 1
        print(f"[connection {connections}, {name}: chunks {first} to {answer.seq}]\n{answer.text[seen:].strip()}")


if __name__ == "__main__":
    try:
        asyncio.run(main(options()))
    except (OSError, ValueError, WebSocketException, httpx.HTTPError) as error:
        sys.exit(f"error: {error}")
