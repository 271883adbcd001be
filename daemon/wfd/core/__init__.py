"""The whole semantics of a workflow run, pure: no clock, no I/O, no logging; time and ids are arguments.

`decide(run, stimulus, moment)` says what is recorded and what is to be done; `apply` folds one record into the state, and
is the only way a state changes, so a run's history is enough to rebuild it.
"""
