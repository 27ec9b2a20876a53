"""The wires of the load generator."""
