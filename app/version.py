"""The version of this server.

Imports nothing at its top: the command line must start in a moment.
"""

from __future__ import annotations


def installed_version() -> str:
    """The version of the installed distribution; `0` in a checkout that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("twowire")
    except PackageNotFoundError:
        return "0"
