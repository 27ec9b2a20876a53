"""The text engine: vLLM 0.32. Nothing else imports vLLM."""
