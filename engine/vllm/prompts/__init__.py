"""From the messages, text, tokens and images of a request to the inputs of vLLM."""
