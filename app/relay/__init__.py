"""Generations of other servers and API servers: resumed, followed and cancelled through this one."""
