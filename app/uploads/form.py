"""Reads a form with one file (RFC 7578): the file goes to disk piece by piece, and everything else has a bound."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio import multipart

from protocol.audio.form import decoded
from protocol.errors import Fault, TwowireError
from protocol.validation.request import quoted

MAX_PARTS = 64
MAX_FIELD_BYTES = 128 * 1024
"""Of all fields together, without the file."""
MAX_NAME_CHARS = 100
MAX_BOUNDARY_BYTES = 200
"""RFC 2046, section 5.1.1, allows 70."""
SLICE_BYTES = 64 * 1024
MAX_BUFFER_BYTES = 2 * SLICE_BYTES
"""The most that the parser holds: a part's headers, and what comes before the first part."""
WRITE_BYTES = 256 * 1024


@dataclass(slots=True)
class Form:
    """A form that has arrived. The file is at its end, and is deleted when it is closed."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: BinaryIO | None = None
    file_bytes: int = 0

    def close(self) -> None:
        """Delete the file."""
        if self.file is not None:
            self.file.close()


async def read_form(body: AsyncIterable[bytes], boundary: str | None, file_field: str, max_file_bytes: int) -> Form:
    """The form whose parts `boundary` separates. Its file is the part `file_field`.

    Raises `TwowireError` (400, 413); then nothing is left on disk.
    """
    if not boundary or not boundary.isascii() or len(boundary) > MAX_BOUNDARY_BYTES:
        message = "The Content-Type multipart/form-data needs a boundary of 1 to 200 ASCII characters."
        raise TwowireError(Fault.MALFORMED_REQUEST, message)
    reader = _FormReader(boundary.encode(), file_field, max_file_bytes)
    try:
        async for data in body:
            for start in range(0, len(data), SLICE_BYTES):
                reader.take(data[start : start + SLICE_BYTES])
                await reader.write(WRITE_BYTES)
        reader.take(None)
        await reader.write(1)
        return reader.finished()
    except BaseException:
        reader.form.close()
        raise


class _Decoder(multipart.MultipartDecoder):
    """Holds back what may be the beginning of a boundary.

    werkzeug 3.1 takes the CR before a boundary for data if the boundary has arrived and its end has not. Test:
    `test_a_form_arrives_in_pieces_of_any_size` in `tests/app/uploads/test_form.py`.
    """

    def _last_partial_boundary_index(self, data: bytes | bytearray) -> int:
        start = max(0, len(data) - len(b"\r\n--" + self.boundary + b"--\r\n"))
        found = [at for at in (data.find(b"\r", start), data.find(b"\n", start)) if at >= 0]
        return min(found, default=len(data))


class _FormReader:
    """Parses the pieces of one form."""

    def __init__(self, boundary: bytes, file_field: str, max_file_bytes: int) -> None:
        self.form = Form()
        self._decoder = _Decoder(boundary, MAX_BUFFER_BYTES)
        self._file_field = file_field
        self._max_file_bytes = max_file_bytes
        self._parts = 0
        self._field_bytes = 0
        self._name: str | None = None
        """Of the field that is read; None while it is the file."""
        self._values: dict[str, list[bytearray]] = {}
        self._unwritten = bytearray()

    def take(self, data: bytes | None) -> None:
        """Parse a piece of at most `SLICE_BYTES`; None at the end. Raises `TwowireError`."""
        try:
            self._decoder.receive_data(data)
            while True:
                event = self._decoder.next_event()
                if isinstance(event, multipart.NeedData | multipart.Epilogue):
                    return
                self._handle(event)
        except RequestEntityTooLarge:
            message = f"The form has more than {MAX_BUFFER_BYTES} bytes outside of its parts, or in a part's headers."
            raise TwowireError(Fault.BODY_TOO_LARGE, message) from None
        except ValueError as error:
            # Also a header that is not UTF-8.
            reason = "it ends too early" if data is None else "a part's headers are wrong"
            raise TwowireError(Fault.MALFORMED_REQUEST, f"The form cannot be read: {reason}.") from error

    def _handle(self, event: multipart.Event) -> None:
        if isinstance(event, multipart.Field | multipart.File):
            self._begin(event.name, is_file=isinstance(event, multipart.File))
        elif isinstance(event, multipart.Data) and event.data:
            self._add(event.data)

    def _begin(self, name: str | None, *, is_file: bool) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TwowireError(Fault.INVALID_VALUE, f"The form has more than {MAX_PARTS} parts.")
        if not name or len(name) > MAX_NAME_CHARS:
            message = f"Each part of the form needs a name of 1 to {MAX_NAME_CHARS} characters."
            raise TwowireError(Fault.MALFORMED_REQUEST, message)
        if is_file != (name == self._file_field):
            what = "must not be a file" if is_file else "must be a file: its part needs a filename"
            raise TwowireError(Fault.INVALID_TYPE, f"{quoted(name)} {what}.", param=name)
        if not is_file:
            self._name = name
            self._values.setdefault(name, []).append(bytearray())
            return
        if self.form.file is not None:
            raise TwowireError(Fault.INVALID_VALUE, f"{name} is given twice; it takes one value.", param=name)
        self._name = None
        self.form.file = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # `Form.close`

    def _add(self, data: bytes) -> None:
        if self._name is not None:
            self._field_bytes += len(data)
            if self._field_bytes > MAX_FIELD_BYTES:
                message = f"The form's fields have more than {MAX_FIELD_BYTES} bytes."
                raise TwowireError(Fault.BODY_TOO_LARGE, message, param=self._name)
            self._values[self._name][-1] += data
            return
        self.form.file_bytes += len(data)
        if self.form.file_bytes > self._max_file_bytes:
            raise too_large(self._file_field, self._max_file_bytes)
        self._unwritten += data

    async def write(self, at_least: int) -> None:
        """Write what is there of the file, once it is `at_least` so many bytes."""
        if len(self._unwritten) < at_least or self.form.file is None:
            return
        data, self._unwritten = bytes(self._unwritten), bytearray()
        await asyncio.to_thread(_write_all, self.form.file, data)

    def finished(self) -> Form:
        """The form, once all of it is taken and written."""
        for name, values in self._values.items():
            self.form.fields[name] = [decoded(name, bytes(value)) for value in values]
        return self.form


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def too_large(name: str, max_bytes: int) -> TwowireError:
    """The error for a file of more than `max_bytes`."""
    return TwowireError(
        Fault.BODY_TOO_LARGE, f"{name} is larger than the {max_bytes} bytes that this server takes.", param=name
    )
