"""Fetching: which URLs are, which are not, and that nothing is connected to for those."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiohttp.abc import ResolveResult

from engine.media.fetch import Allowance, Fetcher
from engine.media.limits import MediaLimits
from protocol.errors import Fault, TwowireError
from tests.engine.media.hosts import Answer, answer, found, listening
from tests.engine.media.pictures import picture, source

PICTURE = picture()
NAME = "pictures.example"
LOOPBACK = "127.0.0.0/8"


async def fetched(url: str, limits: MediaLimits, addresses: Sequence[str] = ("127.0.0.1",)) -> bytes:
    """The file at `url`, where every name has these addresses."""

    async def resolve(host: str, port: int) -> list[ResolveResult]:
        return [found(address, port) for address in addresses]

    fetcher = Fetcher(limits, resolve)
    try:
        return await fetcher.fetch(source(url), Allowance(limits.max_bytes))
    finally:
        await fetcher.close()


async def refused(url: str, limits: MediaLimits, addresses: Sequence[str] = ("127.0.0.1",)) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        await fetched(url, limits, addresses)
    error = caught.value
    assert (error.fault.status, error.param) == (400, "messages[0].content[1]")
    assert error.message.startswith("messages[0].content[1]: ")
    return error


def limits(*domains: str, networks: Sequence[str] = (LOOPBACK,), max_bytes: int = 10_000) -> MediaLimits:
    return MediaLimits(domains=domains, private_networks=tuple(networks), max_bytes=max_bytes)


async def test_a_host_that_is_named_is_fetched_from() -> None:
    async with listening(lambda path: answer(PICTURE)) as host:
        allowed = limits(f"{NAME}:{host.port}")
        assert await fetched(f"http://{NAME}:{host.port}/a%20b.png?x=1#y", allowed) == PICTURE
        assert await fetched(f"HTTP://{NAME.upper()}:{host.port}/", allowed) == PICTURE
    assert b"GET /a%20b.png?x=1 " in host.requests[0]
    head = host.requests[0].lower()
    assert f"host: {NAME}:{host.port}".encode() in head
    assert not any(name in head for name in (b"cookie", b"authorization", b"gzip"))


async def test_by_default_nothing_is_fetched() -> None:
    async with listening(lambda path: answer(PICTURE)) as host:
        error = await refused(f"http://127.0.0.1:{host.port}/", MediaLimits())
        assert "data: URL" in error.message
    assert host.connections == 0


TRICKS = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
    "http://pictures.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@pictures.example/",
    "http://user:secret@pictures.example/",
    "http://127.0.0.1:{port}\\@pictures.example/",
    "http://pictures.example.:{port}/",
    "http://pictures.example.attacker.example:{port}/",
    "http://attacker.example:{port}/pictures.example",
    "http://attacker.example:{port}#@pictures.example/",
    "http://pictures.example%2f@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/%0d%0aHost:%20pictures.example",
    "http://pictures.example:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://:{port}/",
    "http:///{port}",
    "https://[",
    "http://pictures.example:99999/",
]
"""The loopback in other words, other hosts that look like the one that is named, and another port of that."""


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_url_of_another_host_is_not_connected_to(trick: str) -> None:
    async with listening(lambda path: answer(PICTURE)) as host:
        error = await refused(trick.format(port=host.port), limits(NAME))
        assert error.fault is Fault.INVALID_IMAGE_URL
    assert host.connections == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
async def test_a_named_host_with_a_private_address_is_not_connected_to(address: str) -> None:
    async with listening(lambda path: answer(PICTURE)) as host:
        allowed = limits(f"{NAME}:{host.port}", networks=())
        error = await refused(f"http://{NAME}:{host.port}/", allowed, [address])
        assert "no public address" in error.message
    assert host.connections == 0


@pytest.mark.parametrize("name", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001"])
async def test_a_private_address_is_not_connected_to_although_it_is_named(name: str) -> None:
    async with listening(lambda path: answer(PICTURE)) as host:
        await refused(f"http://{name}:{host.port}/", limits(f"{name}:{host.port}", networks=()))
    assert host.connections == 0


async def test_a_name_that_changes_its_address_leads_nowhere_else() -> None:
    """What is connected to is what was checked: the name is asked for once."""
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    asked = 0

    async def resolve(host: str, port: int) -> list[ResolveResult]:
        nonlocal asked
        asked += 1
        return [found(address, port) for address in answers[asked - 1]]

    async with listening(lambda path: answer(PICTURE)) as host:
        fetcher = Fetcher(limits(f"{NAME}:{host.port}", networks=["127.0.0.2/32"]), resolve)
        for _ in answers:  # At 127.0.0.2, which is allowed, nobody listens; at the other somebody would.
            with pytest.raises(TwowireError):
                await fetcher.fetch(source(f"http://{NAME}:{host.port}/"), Allowance(10_000))
        await fetcher.close()
    assert (asked, host.connections) == (2, 0)


async def test_of_several_addresses_only_those_that_may_be_are_connected_to() -> None:
    async with listening(lambda path: answer(PICTURE)) as host:
        allowed = limits(f"{NAME}:{host.port}", networks=["127.0.0.1/32"])
        assert await fetched(f"http://{NAME}:{host.port}/", allowed, ["10.0.0.1", "127.0.0.1"]) == PICTURE


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with listening(lambda path: answer(PICTURE)) as target:
        to = f"Location: http://{NAME}:{target.port}/"
        async with listening(lambda path: answer(b"", status, to)) as host:
            allowed = limits(f"{NAME}:{host.port}", f"{NAME}:{target.port}")
            assert "redirects" in (await refused(f"http://{NAME}:{host.port}/", allowed)).message
    assert target.connections == 0


ANSWERS: list[tuple[Answer, str, Fault]] = [
    (lambda path: answer(b"", "404 Not Found"), "status 404", Fault.INVALID_IMAGE_URL),
    (lambda path: answer(b"", "500 Oops"), "status 500", Fault.INVALID_IMAGE_URL),
    (lambda path: b"not HTTP\r\n\r\n", "does not speak HTTP", Fault.INVALID_IMAGE_URL),
    (lambda path: b"", "broke off", Fault.INVALID_IMAGE_URL),
    (lambda path: answer(PICTURE)[:-5], "broke off", Fault.INVALID_IMAGE_URL),
    (lambda path: answer(b"x" * 10_001), "10000 bytes", Fault.IMAGE_TOO_LARGE),
    (lambda path: b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "10000 bytes", Fault.IMAGE_TOO_LARGE),
    (lambda path: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20_000, "10000 bytes", Fault.IMAGE_TOO_LARGE),
]


@pytest.mark.parametrize(("given", "words", "fault"), ANSWERS)
async def test_a_host_that_fails_is_the_requests_fault(given: Answer, words: str, fault: Fault) -> None:
    async with listening(given) as host:
        error = await refused(f"http://{NAME}:{host.port}/", limits(f"{NAME}:{host.port}"))
    assert (error.fault, words in error.message) == (fault, True), error.message


async def test_a_host_where_nobody_listens_cannot_be_reached() -> None:
    async with listening(lambda path: answer(b"")) as host:
        pass
    error = await refused(f"http://{NAME}:{host.port}/", limits(f"{NAME}:{host.port}"))
    assert "cannot be reached" in error.message


async def test_fetching_can_be_cancelled() -> None:
    async with listening(lambda path: None) as host:
        fetching = asyncio.create_task(fetched(f"http://{NAME}:{host.port}/", limits(f"{NAME}:{host.port}")))
        async with asyncio.timeout(30):
            while not host.requests:  # noqa: ASYNC110  # the host has no event for it
                await asyncio.sleep(0)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
