"""Declaring workflows: what is taken, and what is refused with the line and the remedy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any

import pytest

from wfctl import ChildOutcome, Context, Directive, InvalidDirectiveError, RegistrationError, Workflow
from wfctl.sdk.directive import Next
from wfctl.sdk.sources import Sources


def refusal(declare: Any) -> RegistrationError:
    with pytest.raises(RegistrationError) as caught:
        declare()
    error = caught.value
    assert error.hint, "a refusal names its remedy"
    assert error.detail["file"] == __file__
    first = inspect.getsourcelines(declare)[1]
    assert first <= error.detail["line"] <= first + len(inspect.getsourcelines(declare)[0])
    assert f"test_sdk_registration.py:{error.detail['line']}: " in error.message
    return error


def test_decorators_return_the_function_unchanged_with_and_without_parentheses() -> None:
    wf = Workflow("Order")

    def begin(ctx: Context) -> Directive:
        return ctx.next.complete()

    assert wf.start()(begin) is begin
    assert wf.step(begin) is begin
    assert wf.event(name="paid", timeout=timedelta(seconds=2))(begin) is begin
    assert [(h.kind, h.name, h.timeout_ms) for h in wf.handlers] == [
        ("start", "begin", None),
        ("step", "begin", None),
        ("event", "paid", 2_000),
    ]


def test_the_workflow_type_may_be_given_by_keyword_and_must_be_a_name() -> None:
    assert Workflow(workflow_type="Order").workflow_type == "Order"
    assert "empty" in refusal(lambda: Workflow("")).message
    assert "must be text" in refusal(lambda: Workflow(3)).message  # type: ignore[arg-type]


def test_a_workflow_describes_its_handlers_parameters_defaults_and_docs() -> None:
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, order_id: str, amounts: list[float], *, note: str | None = None) -> Directive:
        """Begins an order.

        More than one line is not shown.
        """
        return ctx.next.complete()

    @wf.event()
    def paid(ctx: Context, when: timedelta = timedelta(0), **rest: Any) -> Directive:
        return ctx.next.complete()

    spec = wf.describe()
    start = spec.start
    assert start.signature() == "(order_id: str, amounts: list[float], note: str | None = None)"
    assert start.plain
    assert start.doc == "Begins an order."
    assert start.file == __file__
    paid_spec = spec.handler("event", "paid")
    assert paid_spec is not None
    assert paid_spec.extra
    assert paid_spec.params[0].default == "datetime.timedelta(0)"
    assert spec.file == __file__


def test_a_type_local_to_the_declaring_function_is_found() -> None:
    @dataclass
    class Money:
        pass

    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, money: Money) -> Directive:
        return ctx.next.complete()

    assert wf.handlers[0].types == {"money": Money}


def test_defaults_whose_repr_holds_an_address_or_is_long_are_shortened() -> None:
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, a: Any = object(), b: str = "x" * 90) -> Directive:  # noqa: B008
        return ctx.next.complete()

    shown = [param.default for param in wf.describe().start.params]
    assert shown == ["...", f"'{'x' * 36}..."]


def test_a_second_start_handler_is_refused_naming_the_first() -> None:
    def declare() -> None:
        wf = Workflow("Order")

        @wf.start()
        async def one(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

        @wf.start()
        async def two(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    assert "exactly one start handler: one at" in refusal(declare).message


@pytest.mark.parametrize("kind", ["step", "event"])
def test_two_handlers_of_one_name_are_refused(kind: str) -> None:
    def declare() -> None:
        wf = Workflow("Order")
        for _ in range(2):

            @getattr(wf, kind)()
            async def pay(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    assert f"there is a {kind} of that name already" in refusal(declare).message


def test_a_step_has_its_own_name_or_that_of_its_function() -> None:
    wf = Workflow("Order")

    @wf.step(name="remind", timeout=timedelta(seconds=2))
    async def send_reminder(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    @wf.step
    async def expire(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    assert wf.names("step") == ["remind", "expire"]
    handler = wf.handler("step", "remind")
    assert handler is not None
    assert (wf.handler_of("step", send_reminder), wf.handler("step", "send_reminder")) == (handler, None)
    spec = handler.describe()
    assert (spec.name, spec.function, spec.timeout_ms) == ("remind", "send_reminder", 2_000)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "step name is empty"),
        ("two\nlines", "control character"),
        (" remind", "starts or ends with a blank"),
        ("r" * 256, "at most 255"),
        (3, "step name must be text, not int"),
        ("expire", "there is a step of that name already"),
    ],
)
def test_a_step_name_that_cannot_be_or_is_taken_is_refused(name: Any, why: str) -> None:
    def declare() -> None:
        wf = Workflow("Order")

        @wf.step()
        async def expire(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

        @wf.step(name=name)
        async def remind(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    refused = refusal(declare)
    assert why in refused.message
    assert name != "expire" or refused.hint == "remove one of the two, or give one another name (name=...)"


def test_a_step_that_is_given_its_name_alone_is_told_how_to_write_it() -> None:
    assert refusal(lambda: Workflow("Order").step("paid")).hint == "@...step(name='paid')"  # type: ignore[call-overload]
    assert refusal(lambda: Workflow("Order").start("paid")).hint == "@...start()"  # type: ignore[call-overload]


def test_a_workflow_without_a_start_handler_cannot_be_described() -> None:
    def declare() -> None:
        Workflow("Order").describe()

    assert "has no start handler" in refusal(declare).message


def test_a_handler_whose_first_parameter_is_not_the_context_is_refused() -> None:
    def declare() -> None:
        @Workflow("Order").start()
        async def begin(order_id: str) -> Directive: ...  # type: ignore[empty-body]

    error = refusal(declare)
    assert "start 'begin' of workflow 'Order': the first parameter must be the context" in error.message
    assert error.hint == "def begin(ctx: Context, ...) -> Directive"


def test_a_context_of_another_name_is_taken_when_it_is_annotated() -> None:
    wf = Workflow("Order")

    @wf.start()
    async def begin(c: Context, /, order_id: str) -> Directive:
        return c.next.complete()

    assert list(wf.handlers[0].types) == ["order_id"]


def test_positional_only_and_star_parameters_are_refused() -> None:
    def positional() -> None:
        @Workflow("Order").start()
        async def begin(ctx: Context, order_id: str, /) -> Directive: ...  # type: ignore[empty-body]

    def star() -> None:
        @Workflow("Order").start()
        async def begin(ctx: Context, *orders: str) -> Directive: ...  # type: ignore[empty-body]

    assert "'order_id' is positional-only" in refusal(positional).message
    assert "*orders cannot be filled" in refusal(star).message


def test_a_step_that_requires_more_than_the_context_is_refused_and_defaults_are_fine() -> None:
    def declare() -> None:
        @Workflow("Order").step()
        async def pay(ctx: Context, amount: float) -> Directive: ...  # type: ignore[empty-body]

    assert "a step takes only ctx, but 'amount' is required" in refusal(declare).message

    @Workflow("Order").step()
    async def fine(ctx: Context, amount: float = 1.0) -> Directive: ...  # type: ignore[empty-body]


def test_generators_lambdas_and_what_is_no_function_are_refused() -> None:
    def generator() -> None:
        @Workflow("Order").step()
        async def pay(ctx: Context) -> Any:
            yield 1

    assert "cannot be a generator" in refusal(generator).message
    assert "lambda has no name" in refusal(lambda: Workflow("Order").step(lambda ctx: None)).message
    assert "is not a function" in refusal(lambda: Workflow("Order").step(42)).message  # type: ignore[call-overload]
    assert "is not a function" in refusal(lambda: Workflow("Order").step(functools.partial(print))).message
    wrong = refusal(lambda: Workflow("Order").event("paid"))  # type: ignore[call-overload]
    assert wrong.hint == "@...event(name='paid')"


@pytest.mark.parametrize("timeout", [timedelta(seconds=-1), timedelta(0), 5])
def test_a_timeout_that_is_not_a_positive_timedelta_is_refused(timeout: Any) -> None:
    def declare() -> None:
        @Workflow("Order").step(timeout=timeout)
        async def pay(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    assert "timeout" in refusal(declare).message


def test_an_event_name_that_is_no_name_is_refused() -> None:
    def declare() -> None:
        @Workflow("Order").event(name="two\nlines")
        async def pay(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    assert "control character" in refusal(declare).message


def test_an_annotation_that_cannot_be_resolved_is_named_when_the_workflow_is_described() -> None:
    def declare() -> None:
        wf = Workflow("Order")

        @wf.start()
        async def begin(ctx: Context, money: Mony) -> Directive: ...  # type: ignore[name-defined,empty-body]  # noqa: F821

        wf.describe()

    message = refusal(declare).message
    assert "annotation 'Mony' of parameter 'money' cannot be resolved" in message


def test_an_annotation_that_no_value_converts_to_is_refused() -> None:
    def declare() -> None:
        wf = Workflow("Order")

        @wf.start()
        async def begin(ctx: Context, when: timedelta | str) -> Directive: ...  # type: ignore[empty-body]

        wf.describe()

    assert "parameter 'when'" in refusal(declare).message


def test_a_step_is_found_through_a_later_decorator() -> None:
    wf = Workflow("Order")

    @wf.step()
    async def pay(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    @functools.wraps(pay)
    async def wrapped(ctx: Context) -> Directive: ...  # type: ignore[empty-body]

    found = wf.handler_of("step", wrapped)
    assert found is not None
    assert found.name == "pay"
    assert wf.handler_of("step", print) is None


def test_a_step_may_take_the_outcome_of_a_child_and_nothing_else() -> None:
    wf = Workflow("Order")

    @wf.step()
    async def hears(ctx: Context, outcome: ChildOutcome[list[int]]) -> Directive: ...  # type: ignore[empty-body]

    @wf.step()
    async def hears_anything(ctx: Context, how: ChildOutcome) -> Directive: ...  # type: ignore[empty-body, type-arg]

    spelled = [[(one.name, one.type, one.plain) for one in handler.describe().params] for handler in wf.handlers]
    assert spelled == [[("outcome", "ChildOutcome[list[int]]", False)], [("how", "ChildOutcome", False)]]
    with pytest.raises(RegistrationError, match="takes nothing else"):

        @wf.step()
        async def more(ctx: Context, outcome: ChildOutcome[int], x: int = 0) -> Directive: ...  # type: ignore[empty-body]

    with pytest.raises(RegistrationError, match="it has no default"):

        @wf.step()
        async def default(ctx: Context, outcome: ChildOutcome[int] = None) -> Directive: ...  # type: ignore[empty-body, assignment]


def test_queries_are_registered_by_name_and_are_no_steps() -> None:
    wf = Workflow("Order")

    @wf.query
    async def progress(ctx: Context) -> int: ...  # type: ignore[empty-body]

    @wf.query(name="how far")
    def far(ctx: Context, unit: str = "m") -> int: ...  # type: ignore[empty-body]

    assert wf.names("query") == ["progress", "how far"]
    with pytest.raises(InvalidDirectiveError, match="it is a query, which changes nothing"):
        Next(wf, Sources(".")).step(progress)
    with pytest.raises(RegistrationError, match=r"there is a query of that name already"):
        wf.query(name="progress")(far)
    with pytest.raises(RegistrationError, match="query name is empty"):
        wf.query(name="")
    with pytest.raises(RegistrationError, match="cannot be a generator") as caught:

        @wf.query()
        def generates(ctx: Context):  # type: ignore[no-untyped-def]
            yield 1

    assert caught.value.hint == "return the whole answer"


def test_a_name_that_is_no_text_is_answered_with_one_that_is() -> None:
    with pytest.raises(RegistrationError) as caught:
        Workflow("Order").event(name=3)  # type: ignore[call-overload]
    assert "event name must be text, not int" in caught.value.message
    assert caught.value.hint == "give a text, as in @...event(name='3'), or no name"


class Session:
    """No data."""


class Text(str):
    """JSON gives back a str."""


@pytest.mark.parametrize("annotation", [Session, Text, complex, Callable[[], int], Iterator[int]])
def test_a_parameter_that_nothing_can_fill_is_refused(annotation: Any) -> None:
    def declare() -> None:
        wf = Workflow("Order")

        async def begin(ctx: Context, given: Any) -> Directive:
            return ctx.next.complete()

        begin.__annotations__["given"] = annotation
        wf.start()(begin)
        wf.describe()

    error = refusal(declare)
    assert "parameter 'given' can never be given: JSON holds nothing of type " in error.message
    assert "dataclass" in str(error.hint)


@pytest.mark.parametrize(
    "annotation",
    [
        Path,
        PurePath,
        Session | None,
        list[Session],
        Iterable[int],
        Sequence[int],
        Mapping[str, int],
        Sized,
        Hashable,
        Any,
        object,
    ],
)
def test_a_parameter_that_something_can_fill_is_taken(annotation: Any) -> None:
    wf = Workflow("Order")

    async def begin(ctx: Context, given: Any) -> Directive:
        return ctx.next.complete()

    begin.__annotations__["given"] = annotation
    wf.start()(begin)
    assert wf.describe().start.params[0].name == "given"


def test_a_parameter_that_need_not_be_filled_is_of_any_class() -> None:
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, session: Session = Session()) -> Directive:  # noqa: B008
        return ctx.next.complete()

    assert not wf.describe().start.params[0].required
