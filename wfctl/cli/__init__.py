"""The command line. Parses, calls, renders; whatever is decided about a run is decided in the daemon."""
