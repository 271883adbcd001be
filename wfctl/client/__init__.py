"""How programs and the command line talk to a daemon. The asyncio half is loaded on first use: a command never pays for it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wfctl.client.client import Client as Client
    from wfctl.client.handle import ClientHandle as ClientHandle
    from wfctl.values.handle import WorkflowHandle as WorkflowHandle

_HOMES = {
    "Client": "wfctl.client.client",
    "ClientHandle": "wfctl.client.handle",
    "WorkflowHandle": "wfctl.values.handle",
}

__all__ = ["Client", "ClientHandle", "WorkflowHandle"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wfctl.client' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
