"""Tiny models with random weights, made by the tests: of images, of sound, and the smallest that chats."""
