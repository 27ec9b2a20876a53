"""What embeddings cost, beside other servers and beside chats."""
