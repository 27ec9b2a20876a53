"""Turns the text of a model into content, reasoning and tool calls, step by step, however the text is cut."""
