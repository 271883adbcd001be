"""What every part of the daemon runs on: time, ids, life cycle, the lock on the state, the log. Knows no workflows."""
