"""What a handler returns: what its run does next. `Next` (`ctx.next`) makes them, and refuses at once what cannot work."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, NoReturn

import msgspec

from wfctl.errors import InvalidDirectiveError
from wfctl.sdk.failure import MAX_MESSAGE_CHARS, describe_exception, readable
from wfctl.sdk.handler import Handler
from wfctl.sdk.hints import did_you_mean, listing
from wfctl.sdk.sources import Sources
from wfctl.sdk.workflow import Workflow
from wfctl.values.codec import encode, encode_plain
from wfctl.values.failure import Failure
from wfctl.values.times import left_ms


class Directive(msgspec.Struct, frozen=True):
    """Base of the four; made by `ctx.next`. It takes effect when the handler returns it, together with its store writes."""

    def __await__(self) -> NoReturn:
        raise InvalidDirectiveError("a directive is returned, not awaited: write `return ctx.next...` without `await`")


class StepDirective(Directive, frozen=True):
    """Go to step `name`, at once or `after_ms` from now."""

    name: str
    after_ms: int | None = None


class WaitDirective(Directive, frozen=True):
    """Wait for one of the events `names` (None: any); after `timeout_ms` go to step `on_timeout`."""

    names: tuple[str, ...] | None = None
    timeout_ms: int | None = None
    on_timeout: str | None = None


class CompleteDirective(Directive, frozen=True):
    """End the run with the result `value`, as JSON."""

    value: bytes


class FailDirective(Directive, frozen=True):
    """End the run as failed."""

    failure: Failure


class Next:
    """`ctx.next`. Every method returns a directive and does nothing else: return it from the handler."""

    __slots__ = ("_sources", "_steps", "_workflow")

    def __init__(self, workflow: Workflow, sources: Sources) -> None:
        self._workflow = workflow
        self._sources = sources
        # What `step` made of the functions and names that it was given without a delay.
        self._steps: dict[Callable[..., Any] | str, StepDirective] = {}

    def step(self, fn: Callable[..., Any] | str, *, after: timedelta | None = None) -> Directive:
        """Run step `fn` (its function or name) next, `after` this long (negative: at once); the delay survives restarts.

        Raises InvalidDirectiveError for what is no step of this workflow.
        """
        if after is not None:
            return StepDirective(self._step(fn, "ctx.next.step").name, left_ms(after, "after"))
        try:
            return self._steps[fn]
        except (KeyError, TypeError):  # not asked before, or not hashable
            pass
        handler = self._step(fn, "ctx.next.step")
        directive = StepDirective(handler.name)
        if fn is handler.function or isinstance(fn, str):  # of which there are only so many
            self._steps[fn] = directive
        return directive

    def wait_for_event(
        self,
        *names: Callable[..., Any] | str,
        timeout: timedelta | None = None,
        on_timeout: Callable[..., Any] | str | None = None,
    ) -> Directive:
        """Wait for an event: any, or only those named (other events stay in the inbox, in order).

        `timeout` limits the wait (None: not at all; negative: to zero); then step `on_timeout` runs, and without one the run ends
        as timed out. Raises InvalidDirectiveError for a name that has no handler.
        """
        if on_timeout is not None and timeout is None:
            raise InvalidDirectiveError(
                "wait_for_event: on_timeout without a timeout would never run",
                hint="wait_for_event(timeout=timedelta(...), on_timeout=...)",
            )
        if not names and timeout is None and not self._workflow.hears:
            raise InvalidDirectiveError(
                f"workflow {self._workflow.workflow_type!r} has no event handlers, so it would wait for ever",
                hint="declare one with @....event(), or give a timeout",
            )
        return WaitDirective(
            tuple(dict.fromkeys(event for name in names for event in self._event_names(name))) if names else None,
            None if timeout is None else left_ms(timeout, "timeout"),
            None if on_timeout is None else self._step(on_timeout, "on_timeout").name,
        )

    wait = wait_for_event

    def complete(self, result: Any = None) -> Directive:
        """End the run with `result`, written as JSON here and now: InvalidPayloadError names what JSON cannot hold."""
        return CompleteDirective(encode_plain(result) or encode(result, "result"))

    def fail(self, error: BaseException | str) -> Directive:
        """End the run as failed with `error`: an exception (its own traceback is kept), or a message."""
        if isinstance(error, str):
            return FailDirective(Failure(type="Failed", message=readable(error, MAX_MESSAGE_CHARS)))
        if not isinstance(error, BaseException):
            raise InvalidDirectiveError(
                f"ctx.next.fail takes an exception or a text, not {_shown(error)}",
                hint="ctx.next.fail(ValueError('why'))",
            )
        return FailDirective(describe_exception(error, self._sources))

    def _step(self, fn: Callable[..., Any] | str, where: str) -> Handler:
        workflow = self._workflow
        handler = workflow.handler("step", fn) if isinstance(fn, str) else workflow.handler_of("step", fn)
        if handler is not None and handler.outcome:
            raise InvalidDirectiveError(
                f"{where}({handler.name}): that step takes the outcome of a child, which there is only when a child closes",
                hint=f"ctx.start(..., on_completed_step={handler.function.__name__}); or let a step without it do what both need",
            )
        if handler is not None:
            return handler
        _no_step(self._workflow, fn, where)

    def _event_names(self, name: Callable[..., Any] | str) -> list[str]:
        """The event of that name, or all that the function handles."""
        workflow = self._workflow
        _refuse_call(name, "wait_for_event")
        found = workflow.handler("event", name) if isinstance(name, str) else workflow.handler_of("event", name)
        if found is None:
            events = workflow.names("event")
            raise InvalidDirectiveError(
                f"wait_for_event({_shown(name)}): workflow {workflow.workflow_type!r} has no such event"
                f"{did_you_mean(_shown(name), events)}",
                hint=f"its events: {listing(events)}; declare one with @....event()",
                workflow_type=workflow.workflow_type,
                known=events,
            )
        if isinstance(name, str):
            return [found.name]
        return [one.name for one in workflow.handlers if one.kind == "event" and one.function is found.function]


def outcome_step(workflow: Workflow, fn: Callable[..., Any] | str) -> str:
    """The name of step `fn`, which is to get the outcome of a child; InvalidDirectiveError for what cannot."""
    where = "on_completed_step"
    handler = workflow.handler("step", fn) if isinstance(fn, str) else workflow.handler_of("step", fn)
    if handler is None:
        _no_step(workflow, fn, where)
    if not handler.outcome:
        raise InvalidDirectiveError(
            f"{where}({handler.name}): that step takes no outcome",
            hint=f"def {handler.function.__name__}(ctx: Context, outcome: ChildOutcome[...]) -> Directive",
        )
    return handler.name


def _no_step(workflow: Workflow, fn: Callable[..., Any] | str, where: str) -> NoReturn:
    _refuse_call(fn, where)
    name = _shown(fn)
    other = _other_kind(workflow, fn)
    if other is not None and other.kind == "start":
        why, hint = "it is the start handler, which runs once", "move what should run again into a step"
    elif other is not None and other.kind == "query":
        why, hint = "it is a query, which changes nothing", f"declare a step: @....step() above a def {name}(ctx)"
    elif other is not None:
        why, hint = "it is an event handler, which runs when the event comes", "return ctx.next.wait_for_event()"
    else:
        steps = workflow.names("step")
        named = [one.name for one in workflow.steps.values() if one.function.__name__ == fn]
        near = f" (function {name} is step {named[-1]!r})" if named else did_you_mean(name, steps)
        why = f"workflow {workflow.workflow_type!r} has no such step{near}"
        hint = f"its steps: {listing(steps)}; declare one with @....step()"
    raise InvalidDirectiveError(
        f"{where}({name}): {why}", hint=hint, workflow_type=workflow.workflow_type, known=workflow.names("step")
    )


def _refuse_call(given: object, where: str) -> None:
    """Raise where `given` is what calling a handler gives, in the place of its function."""
    if isinstance(given, Coroutine):
        given.close()  # nobody will await it, and Python would complain of that besides
        name = _shown(given)
        hint = f"write {where}={name}" if where.startswith("on_") else f"write {where}({name})"
    elif isinstance(given, Directive):
        name, hint = "a directive", "write the handler's name without (ctx)"
    else:
        return
    raise InvalidDirectiveError(f"{where}({name}): pass the handler's function, do not call it", hint=hint)


def _other_kind(workflow: Workflow, fn: Callable[..., Any] | str) -> Handler | None:
    for handler in workflow.handlers:
        if handler.kind != "step" and fn in (handler.name, handler.function):
            return handler
    return None


def _shown(given: object) -> str:
    if isinstance(given, str):
        return given
    name = getattr(given, "__name__", None)
    return name if isinstance(name, str) else repr(given)[:60]
