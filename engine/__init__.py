"""What computes: the engine manager and the engines it owns.

Knows nothing of HTTP, WebSockets or the web framework.
"""
