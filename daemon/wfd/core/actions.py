"""What is to be done once the records are committed. Every action can be derived again from the state, so none is logged."""

from __future__ import annotations

import enum


class Action(enum.Enum):
    DISPATCH = "dispatch"  # give the current step to a worker
    CANCEL_HANDLER = "cancel_handler"  # raise CancelledError in the running handler, and hear it out
    ABANDON = "abandon"  # the running handler is no longer wanted: cancel it, ignore what it says
    CLOSE = "close"  # the run has ended: answer who waits, tell the parent


# To get a member from its class costs more, in Python 3.11, than what is done with it: what happens at every step uses these.
DISPATCH = Action.DISPATCH
CANCEL_HANDLER = Action.CANCEL_HANDLER
ABANDON = Action.ABANDON
CLOSE = Action.CLOSE
