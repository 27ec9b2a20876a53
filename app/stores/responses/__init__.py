"""Where responses and conversations are kept."""
