"""What the images of a request may be, and where they may come from. Imports nothing heavy."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from engine.option import Option

TOTAL_SHARE = 4
"""All images of one request may have so many times the pixels that one may have."""

_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?|\[[0-9a-f:]+\](:[0-9]{1,5})?")


def _check_domains(domains: tuple[str, ...]) -> tuple[str, ...]:
    for domain in domains:
        if not _DOMAIN.fullmatch(domain.lower()):
            raise ValueError(f"must be host names like images.example.com, or with a port, got {domain[:60]!r}")
    return tuple(domain.lower() for domain in domains)


def _check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(f"must be networks like 10.1.0.0/16, got {network[:60]!r}") from None
    return networks


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Limits of images, for each request and for the server."""

    domains: Annotated[
        tuple[str, ...],
        Option(
            "The hosts that images are fetched from, exactly as in their URLs; one with another port than 80 or 443 "
            "as HOST:PORT.",
            shown="none: only images in the request itself (data: URLs, base64) are read",
            metavar="HOST",
            check=_check_domains,
        ),
    ] = ()
    private_networks: Annotated[
        tuple[str, ...],
        Option(
            "Networks of private, loopback or link-local addresses that the hosts of --media-domains may be in. Other "
            "such addresses are never connected to.",
            shown="none",
            metavar="NETWORK",
            check=_check_networks,
        ),
    ] = ()
    timeout_s: Annotated[float, Option("How many seconds fetching all images of a request may take.", gt=0)] = 10.0
    max_bytes: Annotated[
        int, Option("How many bytes the files of a request's images may have, all together.", ge=1)
    ] = 16 * 1024 * 1024
    max_pixels: Annotated[
        int,
        Option(
            "How many pixels an image may have; all images of a request may have four times as many. Decoding takes "
            "three or four bytes of memory for each.",
            ge=1,
        ),
    ] = 25_000_000

    @property
    def max_total_pixels(self) -> int:
        """How many pixels all images of a request may have."""
        return TOTAL_SHARE * self.max_pixels
