"""Input that nobody who means well sends, at every parser and at the sockets of a running service."""
