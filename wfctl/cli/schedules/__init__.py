"""The actions of `wfctl schedule`."""
