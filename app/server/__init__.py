"""The server process: sockets, start, stop, and several API servers on one port."""
