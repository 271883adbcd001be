"""Ids, statuses, durations, times, payloads: the small values every part agrees on. No I/O."""
