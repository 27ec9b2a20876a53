"""API keys, hosts and origins, tickets, TLS."""
