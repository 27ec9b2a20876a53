"""A long test: clients of every kind at once, held against the log and the metrics afterwards."""
