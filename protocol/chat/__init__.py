"""Chat completions: the request and its messages."""
