"""The channel's Python client under its older name; the client itself is the package `twowire-client`."""

try:
    from twowire_client import Channel, ChannelError, ConnectionLost, Generation, MessageBuilder, run_tools
except ModuleNotFoundError as missing:
    if missing.name != "twowire_client":
        raise
    raise ImportError(
        "app.client needs the package twowire-client: pip install 'twowire[client]', or in a checkout "
        "pip install ./clients/python"
    ) from missing

__all__ = ["Channel", "ChannelError", "ConnectionLost", "Generation", "MessageBuilder", "run_tools"]
