"""Generations that outlive a connection: kept, read again, and found on other servers."""
