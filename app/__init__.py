"""What listens: routes, authentication, settings, the hypercorn server, the command line.

Knows nothing of vLLM: it speaks to the engine manager alone.
"""
