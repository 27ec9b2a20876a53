"""Programs that stand before or behind the server: nginx, HAProxy, Caddy and Redis, and whole sites of them."""
