"""Longhand in a terminal: the commands that talk to a server, here or elsewhere."""
