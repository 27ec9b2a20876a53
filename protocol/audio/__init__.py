"""Speech to text: OpenAI's transcriptions and translations."""
