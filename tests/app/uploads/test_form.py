"""Forms in, as clients send them and as nobody should; fields and a file on disk out, or a refusal."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterable

import pytest

from app.uploads.form import MAX_BUFFER_BYTES, MAX_FIELD_BYTES, MAX_PARTS, Form, read_form
from protocol.errors import TwowireError

BOUNDARY = "b0undary"
LIMIT = 1_000_000


def field(name: str, value: bytes | str) -> bytes:
    value = value if isinstance(value, bytes) else value.encode()
    return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
        BOUNDARY.encode(),
        name.encode(),
        value,
    )


def file(value: bytes, name: str = "file") -> bytes:
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    return head % (BOUNDARY.encode(), name.encode()) + value + b"\r\n"


END = b"--b0undary--\r\n"


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


async def read(data: bytes, size: int = 1 << 20, boundary: str | None = BOUNDARY) -> Form:
    return await read_form(pieces(data, size), boundary, "file", LIMIT)


async def refused(data: bytes, boundary: str | None = BOUNDARY) -> tuple[int, str, str | None, str]:
    with pytest.raises(TwowireError) as error:
        await read(data, boundary=boundary)
    fault = error.value.fault
    return fault.status, fault.code, error.value.param, error.value.message


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_a_form_arrives_in_pieces_of_any_size(size: int) -> None:
    sound = bytes(range(256)) * 9 + b"\r\n--b0undar" + b"\r\n--" + b"\r" * 30 + b"\n"
    form = await read(field("model", "whisper") + file(sound) + field("x[]", "a") + field("x[]", "ü") + END, size)
    assert form.fields == {"model": ["whisper"], "x[]": ["a", "ü"]}
    assert form.file is not None
    form.file.seek(0)
    assert (form.file.read(), form.file_bytes) == (sound, len(sound))
    form.close()
    assert form.file.closed


@pytest.mark.parametrize("boundary", [None, "", "ä", "b" * 201])
async def test_a_boundary_is_needed(boundary: str | None) -> None:
    status, code, _, message = await refused(file(b"x") + END, boundary)
    assert (status, code) == (400, "malformed_request")
    assert "boundary" in message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no form at all",
        file(b"x"),
        file(b"x")[:-20],
        field("model", "a") + b"--b0undary\r\n",
        b"--b0undary\r\nContent-Type: audio/wav\r\n\r\nx\r\n" + END,
        b"--b0undary\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
        b'--b0undary\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\nx\r\n' + END,
        field("n" * 101, "x") + END,
    ],
)
async def test_broken_forms_are_refused(data: bytes) -> None:
    assert (await refused(data))[:2] == (400, "malformed_request")


async def test_an_endless_header_is_refused() -> None:
    head = b"--b0undary\r\nContent-Disposition: form-data; x=" + b"y" * MAX_BUFFER_BYTES
    assert (await refused(head + b"y" * 1_000_000))[:2] == (413, "request_too_large")


async def test_an_endless_preamble_is_refused() -> None:
    assert (await refused(b"x" * 1_000_000))[:2] == (413, "request_too_large")


async def test_what_follows_the_last_part_is_bounded() -> None:
    assert (await refused(file(b"x") + END + b"x" * 1_000_000))[:2] == (413, "request_too_large")


async def test_too_many_fields_are_refused() -> None:
    status, code, _, message = await refused(field("a", "b") * 10_000 + END)
    assert (status, code) == (400, "invalid_value")
    assert str(MAX_PARTS) in message


async def test_large_fields_are_refused() -> None:
    status, code, param, message = await refused(field("prompt", "x" * (MAX_FIELD_BYTES + 1)) + END)
    assert (status, code, param) == (413, "request_too_large", "prompt")
    assert str(MAX_FIELD_BYTES) in message


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        (field("file", "text") + END, "invalid_type", "file"),
        (file(b"x", "model") + END, "invalid_type", "model"),
        (file(b"x") + file(b"y") + END, "invalid_value", "file"),
        (field("prompt", b"\xff") + END, "invalid_value", "prompt"),
    ],
)
async def test_the_file_is_one_and_the_fields_are_text(data: bytes, code: str, param: str) -> None:
    status, got, named, _ = await refused(data)
    assert (status, got, named) == (400, code, param)


async def test_a_huge_file_is_refused_at_the_bound_and_costs_no_memory() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield file(b"x" * 1000)[:-2]
        while True:
            sent += 65536
            yield bytes(65536)

    tracemalloc.start()
    with pytest.raises(TwowireError) as error:
        await read_form(endless(), BOUNDARY, "file", 20_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (error.value.fault.status, error.value.param) == (413, "file")
    assert "20000000" in error.value.message
    assert 19_000_000 < sent < 20_200_000
    assert peak < 3_000_000


async def test_a_client_that_leaves_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Form] = []
    close = Form.close

    def noted(form: Form) -> None:
        opened.append(form)
        close(form)

    monkeypatch.setattr(Form, "close", noted)

    async def stalled() -> AsyncIterator[bytes]:
        yield file(b"x" * 1000)[:-2]
        await asyncio.Event().wait()

    reading = asyncio.ensure_future(read_form(stalled(), BOUNDARY, "file", LIMIT))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    (form,) = opened
    assert form.file is not None
    assert form.file.closed


def parts(count: int) -> Iterable[bytes]:
    return [field(f"f{number}", "x") for number in range(count)]


async def test_as_many_parts_as_are_allowed_are_read() -> None:
    form = await read(b"".join(parts(MAX_PARTS)) + END)
    assert len(form.fields) == MAX_PARTS
