"""The server process: sockets, start, stop, and several front ends on one port."""
