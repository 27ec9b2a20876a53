"""Responses on the channel: turns that follow each other on a connection, and steering."""
