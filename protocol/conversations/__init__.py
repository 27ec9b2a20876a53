"""The requests and objects of the Conversations API."""
