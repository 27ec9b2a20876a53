"""The queue for the engine, fair between clients."""
