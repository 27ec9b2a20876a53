"""What every request passes through: its record, and CORS."""
