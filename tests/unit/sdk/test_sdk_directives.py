"""`ctx.next`: each directive, and every one that could not work."""

from __future__ import annotations

import functools
import math
from datetime import timedelta
from typing import Any

import pytest

from support.memory_port import MemoryOps
from wfctl import ChildOutcome, Context, Directive, InvalidDirectiveError, Workflow
from wfctl.errors import InvalidArgumentError, InvalidPayloadError
from wfctl.sdk.directive import CompleteDirective, FailDirective, Next, StepDirective, WaitDirective, outcome_step

wf = Workflow("Order")


@wf.start()
async def begin(ctx: Context) -> Directive: ...  # type: ignore[empty-body]


@wf.step()
async def charge_card(ctx: Context) -> Directive: ...  # type: ignore[empty-body]


@wf.event(name="paid")
async def on_paid(ctx: Context) -> Directive: ...  # type: ignore[empty-body]


@pytest.fixture
def next_() -> Next:
    return Context(MemoryOps(wf)).next


def test_a_function_that_handles_two_events_is_waited_for_by_both() -> None:
    both = Workflow("Both")

    @both.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @both.event(name="paid")
    @both.event(name="waived")
    async def settled(ctx: Context) -> Directive:
        return ctx.next.complete()

    next_ = Context(MemoryOps(both)).next
    assert next_.wait_for_event(settled) == WaitDirective(("waived", "paid"))
    assert next_.wait_for_event("paid") == WaitDirective(("paid",))


def test_step_takes_the_function_or_its_name_and_a_delay(next_: Next) -> None:
    assert next_.step(charge_card) == StepDirective("charge_card")
    assert next_.step("charge_card", after=timedelta(hours=24)) == StepDirective("charge_card", 86_400_000)
    assert isinstance(next_.step(charge_card), Directive)


def test_a_step_is_found_again_whichever_way_it_is_named(next_: Next) -> None:
    @functools.wraps(charge_card)
    async def around(ctx: Context) -> Directive:
        return await charge_card(ctx)

    for _ in range(2):
        assert (
            next_.step(charge_card) == next_.step("charge_card") == next_.step(around) == StepDirective("charge_card")
        )
        assert next_.step(charge_card, after=timedelta(seconds=1)) == StepDirective("charge_card", 1_000)
    assert around not in next_._steps, "others are made anew each time, and would pile up"


def test_a_step_with_a_name_of_its_own_is_meant_by_its_function_and_by_that_name() -> None:
    named = Workflow("Named")

    @named.step(name="remind")
    async def send_reminder(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    @named.step(name="child over")
    async def over(ctx: Context, outcome: ChildOutcome[int]) -> Directive: ...  # type: ignore[empty-body]

    @named.step(name="newest")
    @named.step(name="older")
    async def renamed(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    next_ = Context(MemoryOps(named)).next
    assert next_.step(send_reminder) == next_.step("remind") == StepDirective("remind")
    assert next_.step(send_reminder, after=timedelta(seconds=1)) == StepDirective("remind", 1_000)
    for fn in (send_reminder, "remind"):
        wait = next_.wait_for_event(timeout=timedelta(seconds=1), on_timeout=fn)  # type: ignore[arg-type]
        assert wait == WaitDirective(None, 1_000, "remind")
    assert outcome_step(named, over) == outcome_step(named, "child over") == "child over"
    assert (next_.step(renamed), next_.step("older")) == (StepDirective("newest"), StepDirective("older"))
    with pytest.raises(InvalidDirectiveError, match=r"no such step \(function send_reminder is step 'remind'\)"):
        next_.step("send_reminder")
    with pytest.raises(InvalidDirectiveError) as caught:
        next_.step(over)
    assert "on_completed_step=over)" in str(caught.value.hint)
    with pytest.raises(InvalidDirectiveError) as caught:
        outcome_step(named, "remind")
    assert str(caught.value.hint).startswith("def send_reminder(ctx: Context, outcome:")


def test_an_unknown_step_is_refused_with_the_nearest_name_and_all_names(next_: Next) -> None:
    with pytest.raises(InvalidDirectiveError, match=r"has no such step .did you mean 'charge_card'") as caught:
        next_.step("charge_cart")
    assert caught.value.hint == "its steps: charge_card; declare one with @....step()"
    assert isinstance(caught.value, TypeError)


def test_start_and_event_handlers_are_no_steps_and_the_error_says_why(next_: Next) -> None:
    with pytest.raises(InvalidDirectiveError, match=r"begin.: it is the start handler"):
        next_.step(begin)
    with pytest.raises(InvalidDirectiveError, match=r"on_paid.: it is an event handler"):
        next_.step(on_paid)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_handler_that_is_called_where_its_function_belongs_is_told_so(next_: Next) -> None:
    with pytest.raises(InvalidDirectiveError) as caught:
        next_.step(charge_card(None))  # type: ignore[arg-type]
    assert str(caught.value) == "ctx.next.step(charge_card): pass the handler's function, do not call it"
    assert caught.value.hint == "write ctx.next.step(charge_card)"
    with pytest.raises(InvalidDirectiveError) as caught:
        next_.wait(on_paid(None))  # type: ignore[arg-type]
    assert caught.value.hint == "write wait_for_event(on_paid)"
    with pytest.raises(InvalidDirectiveError) as caught:
        next_.wait(timeout=timedelta(1), on_timeout=charge_card(None))  # type: ignore[arg-type]
    assert caught.value.hint == "write on_timeout=charge_card"
    with pytest.raises(InvalidDirectiveError, match="do not call it"):
        next_.step(next_.complete())  # type: ignore[arg-type]  # as a plain def returns it


@pytest.mark.parametrize("wrong", [None, 7, print, []])
def test_what_is_no_step_at_all_is_refused(next_: Next, wrong: Any) -> None:
    with pytest.raises(InvalidDirectiveError, match=r"has no such step"):
        next_.step(wrong)


def test_the_time_left_until_a_moment_that_has_passed_is_zero(next_: Next) -> None:
    assert next_.step(charge_card, after=timedelta(seconds=-1)) == StepDirective("charge_card", 0)
    assert next_.wait(timeout=timedelta.min) == WaitDirective(timeout_ms=0)
    with pytest.raises(InvalidArgumentError, match=r"after must be a timedelta, not int -1"):
        next_.step(charge_card, after=-1)  # type: ignore[arg-type]


def test_wait_takes_names_functions_and_a_timeout(next_: Next) -> None:
    assert next_.wait_for_event() == WaitDirective()
    assert next_.wait("paid", on_paid) == WaitDirective(("paid",))
    assert next_.wait(timeout=timedelta(seconds=1), on_timeout=charge_card) == WaitDirective(None, 1_000, "charge_card")


def test_wait_refuses_unknown_events_and_a_timeout_step_without_timeout(next_: Next) -> None:
    with pytest.raises(InvalidDirectiveError, match=r"no such event .did you mean 'paid'"):
        next_.wait_for_event("payd")
    with pytest.raises(InvalidDirectiveError, match=r"on_timeout without a timeout"):
        next_.wait_for_event(on_timeout=charge_card)
    with pytest.raises(InvalidDirectiveError, match=r"on_timeout\(on_paid\): it is an event handler"):
        next_.wait_for_event(timeout=timedelta(seconds=1), on_timeout=on_paid)


def test_waiting_for_ever_without_any_event_handler_is_refused() -> None:
    bare = Workflow("Bare")
    with pytest.raises(InvalidDirectiveError, match=r"no event handlers, so it would wait for ever"):
        Context(MemoryOps(bare)).next.wait_for_event()
    assert Context(MemoryOps(bare)).next.wait_for_event(timeout=timedelta(seconds=1)).timeout_ms == 1_000  # type: ignore[attr-defined]

    @bare.step()
    async def paid(ctx: Context, outcome: ChildOutcome[str]) -> Directive:
        return ctx.next.complete()

    # A child that closes ends the wait as well.
    assert Context(MemoryOps(bare)).next.wait_for_event() == WaitDirective(None)


def test_complete_writes_the_result_at_once_and_refuses_nan_by_name(next_: Next) -> None:
    result = {"n": 1}
    directive = next_.complete(result)
    result["n"] = 2
    assert directive == CompleteDirective(b'{"n":1}')
    assert next_.complete() == CompleteDirective(b"null")
    with pytest.raises(InvalidPayloadError, match=r"result\['price'\] is nan"):
        next_.complete({"price": math.nan})


def test_fail_takes_an_exception_or_a_text(next_: Next) -> None:
    directive = next_.fail("out of stock")
    assert isinstance(directive, FailDirective)
    assert str(directive.failure) == "Failed: out of stock"
    directive = next_.fail(ValueError("bad"))
    assert isinstance(directive, FailDirective)
    assert (directive.failure.type, directive.failure.qualified) == ("ValueError", "builtins.ValueError")
    with pytest.raises(InvalidDirectiveError, match=r"takes an exception or a text"):
        next_.fail(ValueError)  # type: ignore[arg-type]
