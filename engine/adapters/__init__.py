"""LoRA adapters: which are served, checks of their files, loading and unloading."""
