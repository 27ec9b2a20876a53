"""A toy API, the worked example of CONTRIBUTING.md: what `protocol/shout/` would hold."""
