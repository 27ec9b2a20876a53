"""What several routes share: reading a request, and writing an answer, an error or a stream."""
