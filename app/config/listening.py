"""Where the server listens, with which certificate, and who may use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import SecretStr

from app.config.values import Key, Origin, check_host, check_root_path
from app.security.hosts import is_loopback
from engine.option import Option


@dataclass(frozen=True, slots=True)
class Listening:
    """The address, and the processes that accept connections to it."""

    host: Annotated[
        str,
        Option(
            "The address or host name to listen on. Any address other than a loopback one can be reached by other "
            "machines, and so requires API keys.",
            metavar="ADDRESS",
            check=check_host,
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Option("The TCP port to listen on; 0 picks a free one.", ge=0, le=65535)] = 8000
    api_server_count: Annotated[
        int,
        Option(
            "The number of API server processes that share the port and the engine, for when one is busier than the "
            "engine. More than one requires Linux.",
            ge=1,
            le=64,
        ),
    ] = 1
    backlog: Annotated[
        int,
        Option(
            "How many new connections may wait until an API server accepts them. Clients beyond that retry, which "
            "takes a second. Linux caps this at net.core.somaxconn.",
            ge=1,
            le=65535,
        ),
    ] = 2048
    root_path: Annotated[
        str,
        Option(
            "The path under which a proxy publishes this server, such as /chat, if the proxy does not remove it. The "
            "server then removes it from the paths of requests.",
            shown="none",
            metavar="PATH",
            check=check_root_path,
        ),
    ] = ""

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach the address."""
        return is_loopback(self.host)

    @property
    def url_host(self) -> str:
        """The host as URLs write it: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the server."""

    api_keys_file: Annotated[
        Path | None,
        Option(
            "A file with one API key per line; blank lines and lines that start with # are ignored. It is read at "
            "startup and on SIGHUP, and its keys are added to those of TWOWIRE_API_KEYS.",
            shown="none",
        ),
    ] = None
    api_keys: Annotated[
        tuple[Key, ...],
        Option(
            "The API keys that clients may send as `Authorization: Bearer KEY`, separated by commas. There is no flag, "
            "because other users of a machine can read its command lines.",
            shown="none",
            is_secret=True,
        ),
    ] = ()
    admin_api_key_file: Annotated[
        Path | None,
        Option(
            "A file with one or more admin keys, one per line, as in --api-keys-file. They are added to those of "
            "TWOWIRE_ADMIN_API_KEY.",
            shown="none",
        ),
    ] = None
    admin_api_key: Annotated[
        tuple[Key, ...],
        Option(
            "The key for loading and unloading adapters at run time. It gives no other access; without it those "
            "routes are off. There is no flag, as for api-keys.",
            shown="none",
            is_secret=True,
        ),
    ] = ()
    allow_unauthenticated: Annotated[
        bool, Option("Listen on an address that other machines can reach even though no API key is set.")
    ] = False
    cors_origins: Annotated[
        tuple[Origin, ...],
        Option(
            "The origins whose web pages may call this server from a browser, such as https://chat.example.com. A "
            "single * allows every page, without credentials.",
            shown="none",
            metavar="ORIGIN",
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Option(
            "Further host names to answer to when there are no API keys and the address is a loopback one, such as "
            "the name of a proxy. All other names are refused, so that no web page can reach the server through a "
            "name of its own (DNS rebinding).",
            shown="loopback names",
            metavar="NAME",
        ),
    ] = ()
    frame_ancestors: Annotated[
        tuple[Origin, ...],
        Option(
            "The origins whose web pages may embed the chat page in a frame, such as https://intranet.example.com. By "
            "default none may.",
            shown="none",
            metavar="ORIGIN",
        ),
    ] = ()
    server_stats: Annotated[
        Literal["auto", "all", "own", "off"],
        Option(
            "What a WebSocket may learn about the server's load: all of it, only its own streams' places in the "
            "queue, or nothing. auto means own if there are several API keys, otherwise all."
        ),
    ] = "auto"
    cache_salt_per_key: Annotated[
        bool,
        Option(
            "Share cached prompts only between requests with the same API key, or from the same address if there are "
            "no keys. Otherwise, the time to the first token can reveal what others have sent."
        ),
    ] = False
    tokenizer_info: Annotated[
        bool, Option("Serve the tokenizer's configuration, including the chat template, at /tokenizer_info.")
    ] = False
    public_metrics: Annotated[bool, Option("Serve /metrics without a key even if API keys are set.")] = False

    keys_of_file: tuple[SecretStr, ...] = ()
    """Those in `api_keys_file`, which may be read again."""

    @property
    def shown_stats(self) -> Literal["all", "own", "off"]:
        """What `server_stats` comes to."""
        if self.server_stats == "auto":
            return "own" if len(self.keys()) > 1 else "all"
        return self.server_stats

    def admin_keys(self) -> tuple[str, ...]:
        """The admin keys as text."""
        return tuple(key.get_secret_value() for key in self.admin_api_key)

    def keys(self) -> tuple[str, ...]:
        """All API keys as text, without repetition."""
        return tuple(dict.fromkeys(key.get_secret_value() for key in (*self.api_keys, *self.keys_of_file)))


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate; both files or neither."""

    certfile: Annotated[
        Path | None,
        Option(
            "A PEM file with the certificate and its intermediates; the server then accepts only TLS. It is reloaded "
            "when it changes, and on SIGHUP.",
            shown="none",
        ),
    ] = None
    keyfile: Annotated[
        Path | None, Option("A PEM file with the certificate's private key, without a password.", shown="none")
    ] = None
