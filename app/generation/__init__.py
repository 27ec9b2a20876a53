"""A running answer: admission, stream, replay buffer, coalescing, and the fast path of a token."""
