"""How servers reach each other's generations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import SecretStr

from app.config.values import check_host
from engine.option import Option

MIN_SECRET_LENGTH = 16


def _check_secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_SECRET_LENGTH:
        raise ValueError(f"must have at least {MIN_SECRET_LENGTH} characters")
    return secret


def _check_port(address: str) -> str:
    host, mark, port = address.rpartition(":")
    if not mark or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ValueError(f"must be an address and a port, such as 10.0.0.1:8100, got {address[:80]!r}")
    check_host(host)
    return address


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """The listener for other servers. Without a port, there is none."""

    port: Annotated[
        int | None,
        Option(
            "The TCP port on which other servers with the same --store reach this one's generations, so that clients "
            "may resume, follow or cancel them through any server. Use a private network: the traffic is "
            "authenticated but not encrypted.",
            shown="none",
            ge=1,
            le=65535,
        ),
    ] = None
    host: Annotated[
        str, Option("The address on which to listen for other servers.", metavar="ADDRESS", check=check_host)
    ] = "127.0.0.1"
    address: Annotated[
        str | None,
        Option(
            "The address and port at which other servers reach the relay port, if not --relay-host. Required if that "
            "stands for all addresses, such as 0.0.0.0.",
            shown="relay-host:relay-port",
            metavar="ADDRESS:PORT",
            check=_check_port,
        ),
    ] = None
    secret: Annotated[
        SecretStr | None,
        Option(
            "The secret by which servers authenticate to each other, the same on all of them. There is no flag, "
            "because other users of a machine can read its command lines.",
            shown="none",
            is_secret=True,
            check=_check_secret,
        ),
    ] = None

    @property
    def shown_address(self) -> str | None:
        """The address for other servers; None without a listener."""
        if self.port is None:
            return None
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.address or f"{host}:{self.port}"
