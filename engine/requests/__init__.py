"""What a request may ask of the engine: its extra fields, the length of its answer, and checks that need the model."""
