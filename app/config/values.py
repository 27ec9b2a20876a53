"""What one value of an option must look like: keys, origins, hosts, lists, JSON, templates.

Does not know which options there are, nor where a value came from.
"""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

MIN_KEY_LENGTH = 8
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class FieldError(ValueError):
    """A value that is wrong beside another one; `field` is the one to blame."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _split(value: object) -> object:
    """A list may be written as one text with commas, as variables and flags have to."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _check_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    # RFC 9110 5.5: a header's value is visible ASCII; and a space would end the key in `Bearer KEY`.
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("an API key must be ASCII characters without spaces")
    if len(text) < MIN_KEY_LENGTH:
        raise ValueError(f"an API key must have at least {MIN_KEY_LENGTH} characters")
    return key


def _check_origin(origin: str) -> str:
    if origin == "*":
        return origin
    normal = origin.lower()
    if not _ORIGIN.fullmatch(normal):
        raise ValueError(f"must be an origin, scheme://host[:port] without a path, or *, got {origin!r}")
    # Browsers leave a scheme's own port out of the Origin header (RFC 6454 6.2), so it would never match.
    return normal.removesuffix(_DEFAULT_PORTS.get(normal.partition(":")[0], " "))


def _check_models(models: list[str]) -> list[str]:
    names = []
    for model in models:
        name, mark, path = model.partition("=")
        if not (mark and name and path) or not name.isprintable() or " " in name:
            raise ValueError(f"must be NAME=FOLDER or NAME=HUB_NAME, got {model!r}")
        if name in names:
            raise ValueError(f"names {name!r} twice")
        names.append(name)
    return models


def _check_truncations(choices: list[str]) -> list[str]:
    names = []
    for choice in choices:
        name, mark, what = choice.rpartition("=")
        if what not in ("end", "refuse") or bool(mark) != bool(name):
            raise ValueError(f"must be end or refuse, or NAME=end or NAME=refuse, got {choice!r}")
        if name in names:
            raise ValueError(f"has two values for {name!r}" if name else "has two values for all models")
        names.append(name)
    return choices


def _check_template(template: str) -> str:
    if "{{" in template or "{%" in template:
        return template
    try:
        found = Path(template).is_file()
    except OSError:  # Longer than a path may be.
        found = False
    if not found:
        raise ValueError(f"must be a file or the text of a Jinja template, got {template!r}")
    return template


def _parse_object(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        # The value is not quoted: engine arguments may hold a hub token.
        raise ValueError('must be a JSON object, such as {"seed":1}')
    return parsed


def read_keys(path: Path) -> list[SecretStr]:
    """The API keys in a file, one per line; blank lines and lines that begin with # do not count.

    Raises FieldError. Its text never quotes the path: people give a key where its file is meant.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FieldError("api_keys_file", "this file is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character.
        reason = getattr(error, "strerror", error)
        raise FieldError("api_keys_file", f"cannot read this file: {reason}") from None
    keys = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                keys.append(_check_key(SecretStr(text)))
            except ValueError as error:
                raise FieldError("api_keys_file", f"line {number}: {error}") from None
    if not keys:
        raise FieldError("api_keys_file", "this file holds no API key")
    return keys


def _check_host(host: str) -> str:
    host = host.removeprefix("[").removesuffix("]")
    # An empty host would mean every interface. Colons belong to IPv6 addresses, not to `unix:…` or a port.
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"must be an address or a host name without a port, got {host!r}") from None
    elif not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise ValueError(f"must be an address or a host name, got {host!r}")
    return host


Host = Annotated[str, AfterValidator(_check_host)]
Names = Annotated[list[str], BeforeValidator(_split)]
Keys = Annotated[list[Annotated[SecretStr, AfterValidator(_check_key)]], BeforeValidator(_split)]
Origins = Annotated[list[Annotated[str, AfterValidator(_check_origin)]], BeforeValidator(_split)]
NamedModels = Annotated[list[str], BeforeValidator(_split), AfterValidator(_check_models)]
Truncations = Annotated[list[str], BeforeValidator(_split), AfterValidator(_check_truncations)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")]
Template = Annotated[str, AfterValidator(_check_template)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_parse_object)]
