"""Looks after a project's state in a process of its own, with the daemon or without: what `wfctl backup` and `restore` start.

Never imported by the daemon, which does not know it.
"""
