"""Completions: the request."""
