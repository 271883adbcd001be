"""Looks after a project's state in a process of its own, with the daemon or without, for `wfctl doctor`, `backup` and `restore`.

Never imported by the daemon, which does not know it. The command line may not open a database itself, and not every daemon that
should be asked about one can answer.
"""
