"""Compiles what constrains an answer's form (JSON schemas, regexes, grammars) outside the server's process.

Compiling a client's constraint may take any amount of time and memory. `checker` queues constraints and remembers
verdicts, `process` speaks to the worker, and `worker` is that process: it forks a child for each constraint, which has
limits and can be killed.
"""
