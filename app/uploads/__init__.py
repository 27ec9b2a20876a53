"""Takes large bodies in pieces, and stores the files in them on disk."""
