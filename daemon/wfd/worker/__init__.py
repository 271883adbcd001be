"""The child side of a worker process: imports the user's modules and runs their handlers for the daemon."""
