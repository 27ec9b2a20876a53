"""The WebSocket channel: handshake, session, outbox, limits."""
