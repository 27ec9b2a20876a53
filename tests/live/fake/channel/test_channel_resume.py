"""Who may go on reading a chat, and what the chats that are kept may take, on the counting engine."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.live.clients.channels import PATH, come_and_go, forget, opened, wait_finished
from tests.live.servers.server import Server, fake_server, left_as_found, start_fake_server, stop_server

KEY, OTHER_KEY = "key-of-one", "key-of-another"
MIB = 2**20

# -- who may ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    env = {"TWOWIRE_API_KEYS": f"{KEY},{OTHER_KEY}", "FAKE_PACE_S": "0.002"}
    with fake_server("--public-metrics", env=env) as server:
        yield server


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_wrong_key_wrong_token_expired_and_unknown_are_the_same_404_on_both_wires(guarded: Server) -> None:
    with left_as_found(guarded):
        async with opened(guarded, additional_headers=bearer(KEY)) as channel:
            stream = await channel.create("a", grace_s=60, max_tokens=10**6)
            expired = await channel.create("b", grace_s=0.001, max_tokens=10**6)
            await channel.until(lambda: stream.data and expired.data)
        guarded.wait_until(lambda: guarded.metric("twowire_resume_logs") == 1, 5, "the second has expired")
        wrong = [
            (OTHER_KEY, stream.id, stream.token),
            (KEY, stream.id, "wrong" + stream.token),
            (KEY, stream.id, ""),
            (KEY, expired.id, expired.token),
            (KEY, "chatcmpl-unknown", stream.token),
        ]
        by_http, by_socket, deleted = set(), set(), set()
        async with httpx.AsyncClient(base_url=guarded.url + PATH) as client:
            for key, id_, token in wrong:
                headers = bearer(key) | {"Twowire-Resume-Token": token}
                answer = await client.get(f"/{id_}/stream", headers=headers)
                by_http.add((answer.status_code, answer.content))
                if (key, id_) != (KEY, stream.id):
                    answer = await client.delete(f"/{id_}", headers=headers)
                    deleted.add((answer.status_code, answer.content))
                async with opened(guarded, additional_headers=bearer(key)) as channel:
                    again = await channel.resume("a", id_, token, 0)
                    await channel.finish()
                    by_socket.add((again.errors[0]["status"], str(again.errors[0]["error"])))
            assert len(by_http) == len(by_socket) == 1
            assert by_http == deleted
            [(status, error)] = by_socket
            assert status == 404
            [(status, raw)] = by_http
            assert (status, str(httpx.Response(200, content=raw).json()["error"])) == (404, error)
            # It is there all the same, for whom it belongs to.
            assert (await client.delete(f"/{stream.id}", headers=bearer(KEY))).status_code == 200
            async with opened(guarded, additional_headers=bearer(KEY)) as channel:
                again = await channel.resume("a", stream.id, stream.token, 0)
                await channel.finish()
                assert again.done is not None
                assert again.done["status"] == "cancelled"
            await client.delete(f"/{stream.id}", headers=bearer(KEY))


# -- memory ----------------------------------------------------------------------------------------------------------


async def test_200_long_resumable_generations_stay_within_the_bounds() -> None:
    bound, of_one = 16 * MIB, 256 * 1024
    flags = ("--resume-logs-max-bytes", str(bound), "--resume-log-max-bytes", str(of_one), "--ws-max-running", "20")
    server = start_fake_server(*flags, env={"FAKE_PACE_S": "0"})
    try:
        with left_as_found(server):
            process = psutil.Process(server.process.pid)
            await come_and_go(server, 20, 10)
            rss = process.memory_info().rss
            ids, peak = await come_and_go(server, 200, 2000)
            peak = max(peak, await wait_finished(server, 60))
            grown = process.memory_info().rss - rss
            print(f"200 x 2000 tokens: logs {peak / MIB:.1f} MiB of {bound / MIB:.0f}, process {grown / MIB:+.1f} MiB")
            assert bound / 2 < peak <= bound
            assert grown < 2 * bound
            logs = server.metric("twowire_resume_logs")
            assert 0 < logs < 200, "the bound was not felt"
            await forget(server, *ids)
    finally:
        assert stop_server(server) == 0
