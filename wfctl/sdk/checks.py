"""Whether a child or a parent can take what it is sent: found out by the sender, before anything is recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from wfctl.errors import (
    InvalidArgumentError,
    InvalidPayloadError,
    UnknownEventError,
    UnknownQueryError,
    UnknownWorkflowTypeError,
)
from wfctl.sdk.handler import Handler
from wfctl.sdk.hints import did_you_mean, listing
from wfctl.sdk.workflow import Workflow
from wfctl.values.codec import encode
from wfctl.values.signature import bind

# What fits into every integer on the way to whoever looks.
_MOST = 10**18


def check_amount(value: object, what: str) -> None:
    """Refuse what is no amount of progress: InvalidArgumentError names it."""
    # A bool is an int for Python, and a mistake here.
    if isinstance(value, bool) or not isinstance(value, int | float):
        problem = f"a {type(value).__name__}"
    elif not math.isfinite(value):
        problem = "no finite number"
    elif value < 0:
        problem = "negative"
    elif value > _MOST:
        problem = "larger than 10**18"
    else:
        return
    raise InvalidArgumentError(
        f"progress {what} is {repr(value)[:80]}, {problem}",
        hint="give how many are done and how many there are: ctx.progress(3, 10)",
    )


def workflow_of(types: Mapping[str, Workflow], workflow_type: str) -> Workflow:
    """The loaded workflow of that type; UnknownWorkflowTypeError names those there are."""
    workflow = types.get(workflow_type)
    if workflow is None:
        raise UnknownWorkflowTypeError(
            f"no workflow type {workflow_type!r} is loaded{did_you_mean(workflow_type, types)}",
            hint=f"loaded: {listing(types)}; a module is loaded when [workflows] modules names it",
            workflow_type=workflow_type,
            known=sorted(types),
        )
    return workflow


def start_of(types: Mapping[str, Workflow], workflow_type: str) -> Handler:
    """What a run of that type begins with; errors as `workflow_of`."""
    workflow = workflow_of(types, workflow_type)
    handler = workflow.handler("start", "")
    if handler is None:
        workflow.describe()  # raises: only workflows that describe themselves are loaded
        raise AssertionError("unreachable")
    return handler


def event_of(workflow: Workflow, event: str) -> Handler:
    """The handler of `event`; UnknownEventError names the events there are."""
    handler = workflow.handler("event", event)
    if handler is None:
        events = workflow.names("event")
        raise UnknownEventError(
            f"workflow {workflow.workflow_type!r} has no event {event!r}{did_you_mean(event, events)}",
            hint=f"its events: {listing(events)}",
            event=event,
            workflow_type=workflow.workflow_type,
            known=sorted(events),
        )
    return handler


def query_of(workflow: Workflow, query: str) -> Handler:
    """The handler of `query`; UnknownQueryError names the queries there are."""
    handler = workflow.handler("query", query)
    if handler is None:
        queries = workflow.names("query")
        raise UnknownQueryError(
            f"workflow {workflow.workflow_type!r} has no query {query!r}{did_you_mean(query, queries)}",
            hint=f"its queries: {listing(queries)}",
            query=query,
            workflow_type=workflow.workflow_type,
            known=sorted(queries),
        )
    return handler


def bound(
    handler: Handler,
    payload: Any,
    what: str,
    *,
    text: Mapping[str, str] | None = None,
    positional: bool = False,
) -> bytes:
    """Keyword arguments for `handler` (a JSON object) from `payload` (plain data), checked with the real types.

    `positional`: the author gave something that is no dict, though as JSON it may be an object (a dataclass, a model).
    Raises InvalidPayloadError, also where converting runs the user's own code and that raises something else.
    """
    if positional and isinstance(payload, dict) and handler.params:
        payload = {handler.params[0].name: payload}
    try:
        kwargs = bind(handler.describe(), payload, what, text=text, types=handler.types)
    except InvalidPayloadError:
        raise
    except Exception as error:
        raise InvalidPayloadError(
            f"{what}: converting it raised {type(error).__name__}: {error}",
            hint=f"it takes {handler.describe().signature()}",
        ) from error
    return encode(kwargs, what)
