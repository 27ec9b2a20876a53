"""Child processes: their output, their end, and the end of their parent."""
