"""A leader and its follower as two machines, of which each has a network namespace."""
