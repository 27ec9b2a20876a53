"""Checks and compiles what constrains an answer's form (JSON schemas, regexes, grammars), apart from the server.

A client's constraint may take a compiler any amount of time and memory, so nothing here compiles one in the server's
own process. `checker` decides whose turn it is and remembers verdicts, `process` speaks to the worker, and `worker` is
that process: it forks a child for each constraint, which has limits and can be killed.
"""
