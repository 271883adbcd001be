"""The parent side of the workers: start them, talk to them, share the steps out, and end the ones that do not let go.

It knows nothing of runs: a step is a token, and what it means is its listener's affair.
"""

from wfd.supervisor.catalog import Catalog
from wfd.supervisor.steps import Listener, StepOrder, WorkerInfo, Workers
from wfd.supervisor.supervisor import Supervisor

__all__ = ["Catalog", "Listener", "StepOrder", "Supervisor", "WorkerInfo", "Workers"]
