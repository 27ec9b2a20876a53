"""How a model writes tool calls and thoughts, and the reading of both."""
