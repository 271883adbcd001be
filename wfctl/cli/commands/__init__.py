"""One file a verb, each imported only when it is typed: `run` is the command, `EXAMPLES` ends its help."""
