"""One engine for several front ends."""
