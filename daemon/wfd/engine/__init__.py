"""Drives runs: takes commands and what workers say, lets the core decide, has the store commit, and then acts."""
