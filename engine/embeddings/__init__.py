"""Embeddings and rankings, computed in a process of their own."""
