"""From the outputs and errors of vLLM to deltas and errors of the server."""
