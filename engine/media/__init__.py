"""Images of requests: fetched, bounded, decoded. Needs Pillow and aiohttp, which come with vLLM."""
