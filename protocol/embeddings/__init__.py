"""Embeddings and rerank: requests and answers."""
