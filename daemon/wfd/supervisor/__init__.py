"""The parent side of the workers: start them, talk to them, share the steps out, and end the ones that do not let go.

It knows nothing of runs: a step is a token, and what it means is its listener's affair.
"""

from wfd.supervisor.catalog import Catalog, Generation
from wfd.supervisor.contract import (
    Demand,
    Handler,
    Heard,
    Listener,
    StepOrder,
    Unanswered,
    WorkerInfo,
    Workers,
    WorkersEnded,
)
from wfd.supervisor.supervisor import Supervisor
from wfd.supervisor.takeover import Takeover

__all__ = [
    "Catalog",
    "Demand",
    "Generation",
    "Handler",
    "Heard",
    "Listener",
    "StepOrder",
    "Supervisor",
    "Takeover",
    "Unanswered",
    "WorkerInfo",
    "Workers",
    "WorkersEnded",
]
