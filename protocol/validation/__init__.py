"""From bytes to a checked request, or an error that names the field."""
