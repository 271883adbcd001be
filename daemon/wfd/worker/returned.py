"""What a handler ended with: the message of a directive, or what is wrong with what it returned or raised."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec

from wfctl.errors import InvalidDirectiveError, UsageError, WfctlError
from wfctl.protocol.channel import StepDone
from wfctl.sdk.directive import CompleteDirective, Directive, FailDirective, StepDirective, WaitDirective
from wfctl.sdk.failure import describe_exception
from wfctl.sdk.hints import listing
from wfctl.sdk.sources import Sources
from wfctl.sdk.surroundings import AnyContext
from wfctl.values.failure import Failure
from wfd.worker.live import LiveOps

_COROUTINE = re.compile(r"\bcoroutine\b")


def done(step: LiveOps, directive: Any, context: AnyContext) -> StepDone | None:
    """The message of what the handler returned; None where that is no directive for its run."""
    put, deleted = context.store.changes()
    # By their very types: nothing but `ctx.next` makes them.
    kind = type(directive)
    if kind is StepDirective:
        if directive.name not in step.workflow.steps:
            return None
        return StepDone(step.token, "step", directive.name, None, directive.after_ms, put=put, deleted=deleted)
    if kind is WaitDirective:
        name = directive.on_timeout
        if name is not None and name not in step.workflow.steps:
            return None
        listed = None if directive.names is None else list(directive.names)
        return StepDone(step.token, "wait", name or "", listed, directive.timeout_ms, put=put, deleted=deleted)
    if kind is CompleteDirective:
        return StepDone(step.token, "complete", value=directive.value, put=put, deleted=deleted)
    if kind is FailDirective:
        return StepDone(step.token, "fail", failure=directive.failure, put=put, deleted=deleted)
    return None


def wrong(step: LiveOps, outcome: Any, forgotten: list[str]) -> WfctlError:
    """Why what the handler returned cannot stand. `forgotten` are the operations that it called and did not await."""
    label = step.handler.label
    if forgotten and isinstance(outcome, Directive):
        return UsageError(
            f"{label} returned without awaiting {listing(forgotten)}, which therefore did not happen: write `await`",
            hint="correct the handler, then `wfctl retry` the run",
        )
    if isinstance(outcome, StepDirective | WaitDirective):
        # Another run's context may have made it, of another type even.
        name = outcome.name if isinstance(outcome, StepDirective) else outcome.on_timeout
        return InvalidDirectiveError(
            f"{label} returned a directive of another workflow: {step.workflow.workflow_type!r} has no step {name!r}",
            hint=f"its steps: {listing(step.workflow.names('step'))}",
        )
    hint = "return ctx.next.step(...), ctx.next.wait_for_event(), ctx.next.complete(...) or ctx.next.fail(...)"
    if outcome is None:
        return InvalidDirectiveError(f"{label} returned None: did you forget `return ctx.next...`?", hint=hint)
    if inspect.iscoroutine(outcome):
        outcome.close()  # it would complain later that nobody awaited it
    return InvalidDirectiveError(
        f"{label} returned {type(outcome).__name__} {repr(outcome)[:80]}, which is no directive", hint=hint
    )


def failure(raised: BaseException, sources: Sources) -> Failure:
    """Of what the handler raised. Who forgets an `await` is told so by Python only in other words."""
    told = describe_exception(raised, sources)
    if isinstance(raised, TypeError | AttributeError) and _COROUTINE.search(told.message):
        return msgspec.structs.replace(told, message=f"{told.message}: is an `await` missing?")
    return told
