"""Shortcuts for plain requests over HTTP/1.1 and their responses; what is not plain takes the way of h11 0.16.

They accept less than h11 does, and what they accept they read and write as h11 would, byte for byte. They leave h11's
connection in the state that h11 itself would have left it in, so that each step may be taken by either.
"""
