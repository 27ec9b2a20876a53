"""The server's settings: flags, environment variables and a TOML file."""
