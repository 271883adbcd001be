"""From a method's name to its route. Derived from the protocol's own list: a verb without a handler does not start."""

from __future__ import annotations

import difflib
from importlib import import_module

from wfctl.errors import UsageError
from wfctl.protocol.calls import CALLS
from wfd.server.route import Route

# The handshake is the session's: it is about the connection, not about workflows.
HANDSHAKE = "hello"


def routes() -> dict[str, Route]:
    """Every verb's route, from the module of the same name under `handlers/`."""
    found: dict[str, Route] = {}
    for method, call in CALLS.items():
        if method == HANDSHAKE:
            continue
        route = import_module(f"wfd.server.handlers.{method}").handle
        if not isinstance(route, Route) or route.call is not call:
            raise TypeError(f"wfd.server.handlers.{method}.handle does not serve {call.__name__}")
        found[method] = route
    return found


def unknown_method(method: str) -> UsageError:
    near = difflib.get_close_matches(method, CALLS, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(CALLS))}"
    return UsageError(f"unknown method {method[:80]!r}; {advice}", method=method[:80])
