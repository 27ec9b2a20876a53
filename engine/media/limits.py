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
            "The hosts from which images may be fetched, exactly as in their URLs; with a port other than 80 or 443, "
            "as HOST:PORT.",
            shown="none: only images in the request itself (data: URLs, base64) are read",
            metavar="HOST",
            check=_check_domains,
        ),
    ] = ()
    private_networks: Annotated[
        tuple[str, ...],
        Option(
            "Networks with private, loopback or link-local addresses in which hosts of --media-domains may be. The "
            "server never connects to other such addresses.",
            shown="none",
            metavar="NETWORK",
            check=_check_networks,
        ),
    ] = ()
    timeout_s: Annotated[float, Option("How long fetching all images of a request may take.", gt=0)] = 10.0
    max_bytes: Annotated[int, Option("The maximum total size of a request's image files, in bytes.", ge=1)] = (
        16 * 1024 * 1024
    )
    max_pixels: Annotated[
        int,
        Option(
            "The maximum number of pixels in an image; all images of a request may have four times as many. Decoding "
            "takes three or four bytes of memory per pixel.",
            ge=1,
        ),
    ] = 25_000_000

    @property
    def max_total_pixels(self) -> int:
        """How many pixels all images of a request may have."""
        return TOTAL_SHARE * self.max_pixels
