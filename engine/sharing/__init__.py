"""One engine for several API servers."""
