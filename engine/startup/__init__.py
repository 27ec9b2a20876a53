"""Checks before and during the engine's start, and the reason when it fails."""
