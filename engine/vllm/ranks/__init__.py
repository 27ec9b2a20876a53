"""Several ranks of one engine. Written for vLLM 0.32: what its data parallelism does not say by itself."""
