"""The frames of the WebSocket channel."""
