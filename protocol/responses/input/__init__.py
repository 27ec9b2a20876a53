"""The input of a response: its items, and how they become messages."""
