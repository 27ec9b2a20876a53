"""Raises the limit of open files at startup as far as the system allows."""

from __future__ import annotations

import resource

WANTED = 65_536
NEEDED = 256
"""The server, its engine and its embedder open up to 90 each before the first client (vLLM 0.32, two cores)."""


class TooFewFiles(Exception):
    """The server cannot start with this limit; the message says what to do."""


def raise_the_limit() -> None:
    """Raise the soft limit to the hard one, up to `WANTED`. Raises `TooFewFiles`.

    A connection is an open file, and the usual soft limit of 1,024 is there for programs that call `select(2)`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if limit < NEEDED:
        raise TooFewFiles(
            f"the limit of open files is {limit}, and the server needs at least {NEEDED} and one for each client: "
            "raise the hard limit (ulimit -Hn, or LimitNOFILE in a systemd unit)"
        )
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
