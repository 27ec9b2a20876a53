"""Measures what embeddings cost, compared with other servers and next to chats."""
