"""The description of each route."""
