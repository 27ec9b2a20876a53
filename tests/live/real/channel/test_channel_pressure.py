"""A reader that does not read: memory stays flat, and the others keep their pace."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time

import psutil

from tests.live.clients.channels import opened
from tests.live.clients.raw_websocket import RawWebSocket
from tests.live.servers.server import MODEL, Server, left_as_found

MIB = 2**20
CREATE = "chat.completion.create"
FLAT_MIB = 24
SLOWER = 1.5
WINDOW_S = (6.0, 13.0)
"""After its start a stuck socket is full, and its streams still run; what is compared is what happens then."""
STREAMS = 64
"""On the socket that gets stuck: enough that they run on until its deadline."""
CHAT = {"messages": [{"role": "user", "content": "Tell me a long story."}], "ignore_eos": True, "temperature": 0}


class Neighbours:
    """Quick readers of short answers, each on a socket of its own, round after round: the gaps between their chunks."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._started = time.monotonic()
        self._gaps: list[tuple[float, float]] = []

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started

    async def run(self) -> None:
        """One round."""
        await asyncio.gather(*(self._read() for _ in range(4)))

    async def _read(self) -> None:
        async with opened(self._server) as channel:
            stream = await channel.create(max_tokens=60)
            await channel.finish()
        for earlier, later in itertools.pairwise(stream.arrivals):
            self._gaps.append((self.age_s, later - earlier))

    def median_gap(self) -> float:
        """Over the time in which the socket beside them is stuck, if it is."""
        return statistics.median(gap for age_s, gap in self._gaps if WINDOW_S[0] < age_s < WINDOW_S[1])


def start_streams(server: Server, count: int) -> RawWebSocket:
    """A socket with a small window that asks for much, and has read the beginning of it."""
    ws = RawWebSocket(server.port, receive_buffer=4096)
    body = {"model": MODEL, "max_tokens": 1900, "stream_options": {"include_obfuscation": True}} | CHAT
    for number in range(count):
        ws.say({"type": CREATE, "stream_id": f"s{number}", "body": body})
    ws.wait_for("chat.completion.chunk")
    return ws


async def drain(ws: RawWebSocket, stop: asyncio.Event) -> None:
    """Read, as quickly as may be, until told to stop."""
    ws._socket.setblocking(False)
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        try:
            async with asyncio.timeout(0.2):
                if not await loop.sock_recv(ws._socket, 1 << 20):
                    return
        except TimeoutError:
            continue


async def beside_a_reader(server: Server) -> Neighbours:
    ws, stop = await asyncio.to_thread(start_streams, server, STREAMS), asyncio.Event()
    reader, neighbours = asyncio.create_task(drain(ws, stop)), Neighbours(server)
    while neighbours.age_s < WINDOW_S[1]:
        await neighbours.run()
    stop.set()
    await reader
    ws.leave("reset")
    await asyncio.to_thread(server.wait_idle, 5)
    return neighbours


async def test_a_reader_that_stops_is_cut_and_nobody_else_notices(server: Server) -> None:
    with left_as_found(server):
        process = psutil.Process(server.process.pid)
        quiet = await beside_a_reader(server)
        stuck = await asyncio.to_thread(start_streams, server, STREAMS)
        neighbours, memory = Neighbours(server), []
        while server.metric("twowire_websockets") > 0:
            assert neighbours.age_s < 40, "the stuck socket is still there"
            await neighbours.run()
            memory.append(process.memory_info().rss / MIB)
        took = neighbours.age_s
        assert server.wait_idle(2) < 2
        stuck.leave("close")
        ratio = neighbours.median_gap() / quiet.median_gap()
        grown = max(memory) - memory[0]
        print(f"stuck reader: cut after {took:.1f} s, gaps x{ratio:.2f}, memory {grown:+.1f} MiB")
        # The deadline is 15 s from the moment that nothing more fits into the socket's buffers.
        assert took > 15
        assert ratio < SLOWER
        assert grown < FLAT_MIB
