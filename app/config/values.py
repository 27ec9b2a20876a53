"""What one value of an option must look like: keys, origins, hosts, lists, URLs."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

MIN_KEY_LENGTH = 8
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class FieldError(ValueError):
    """A value that is wrong in combination with another; `field` is the option to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


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


def check_models(models: tuple[str, ...]) -> tuple[str, ...]:
    """Each is NAME=MODEL, and no name stands twice."""
    names = []
    for model in models:
        name, mark, path = model.partition("=")
        if not (mark and name and path) or not name.isprintable() or " " in name:
            raise ValueError(f"must be NAME=FOLDER or NAME=HUB_NAME, got {model!r}")
        if name in names:
            raise ValueError(f"names {name!r} twice")
        names.append(name)
    return models


def check_truncations(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Each is end or refuse, for all models or after `NAME=` for one."""
    names = []
    for choice in choices:
        name, mark, what = choice.rpartition("=")
        if what not in ("end", "refuse") or bool(mark) != bool(name):
            raise ValueError(f"must be end or refuse, or NAME=end or NAME=refuse, got {choice!r}")
        if name in names:
            raise ValueError(f"has two values for {name!r}" if name else "has two values for all models")
        names.append(name)
    return choices


def read_keys(path: Path, field: str = "api_keys_file") -> list[SecretStr]:
    """The API keys in a file, one per line; blank lines and lines that begin with # do not count.

    Raises FieldError for the option `field`. Its text never quotes the path: people give a key where its file is meant.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FieldError(field, "this file is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character.
        reason = getattr(error, "strerror", error)
        raise FieldError(field, f"cannot read this file: {reason}") from None
    keys = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                keys.append(_check_key(SecretStr(text)))
            except ValueError as error:
                raise FieldError(field, f"line {number}: {error}") from None
    if not keys:
        raise FieldError(field, "this file holds no API key")
    return keys


def check_host(host: str) -> str:
    """An address or a host name, without the brackets that URLs put around IPv6 addresses."""
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


def is_wildcard(host: str) -> bool:
    """Whether the host stands for all addresses of this machine, as 0.0.0.0 and :: do."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def check_root_path(path: str) -> str:
    """A path that starts with a slash; one at its end is removed."""
    path = path.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError(f"must be a path like /chat, got {path[:60]!r}")
    return path


def check_url(url: str) -> str:
    """A base URL over HTTP."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(f"must be a URL like http://127.0.0.1:4318, got {url[:60]!r}")
    return url


Key = Annotated[SecretStr, AfterValidator(_check_key)]
Origin = Annotated[str, AfterValidator(_check_origin)]
