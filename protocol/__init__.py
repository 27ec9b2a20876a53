"""What crosses a wire: request models, chunks, errors, and how they become bytes.

Knows nothing of asyncio, of the web framework, or of the engine.
"""
