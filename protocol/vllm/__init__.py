"""Fields that vLLM adds to OpenAI's requests."""
