"""Data in, lines or documents out. Nothing here opens a socket, reads a clock or knows whether a terminal is there."""
