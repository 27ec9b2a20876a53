"""Responses: the request and its items, the events and the response object."""
