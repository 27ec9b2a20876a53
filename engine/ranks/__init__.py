"""One engine over several ranks and machines. Imports neither vLLM nor torch."""
