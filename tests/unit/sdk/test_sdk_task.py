"""`@task`: how it is declared, what it is outside of a workflow, and what its arguments and results are."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import sys
import types
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, NoReturn

import msgspec
import pytest

from wfctl import InvalidPayloadError, PayloadTooLargeError, RegistrationError, RetryPolicy, current_task, task
from wfctl.sdk.collecting import Collector
from wfctl.sdk.problems import Problems
from wfctl.sdk.sources import Sources
from wfctl.sdk.task import _ATTRIBUTE, tasks_of
from wfctl.sdk.transitions import Functions


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal


@task
async def fetch(sku: str, count: int = 1, *rest: int, deep: bool = False, **more: Any) -> Line:
    """Get it."""
    return Line(sku, Decimal(count))


@task(retry=RetryPolicy(attempts=3), timeout=None)
def square(number: int) -> int:
    return number * number


@task
async def nested(number: int) -> int:
    return square(number) + square.__wrapped__(number)  # type: ignore[return-value, operator]


class Shop:
    @staticmethod
    @task
    async def fetch() -> str: ...  # type: ignore[empty-body]


def definition(function: Any) -> Any:
    return vars(function)[_ATTRIBUTE]


async def test_outside_of_a_workflow_a_task_is_its_function() -> None:
    made = fetch("a", 2)
    assert inspect.iscoroutine(made)
    assert await made == Line("a", Decimal(2))
    assert square(3) == 9  # type: ignore[comparison-overlap]
    assert await nested(2) == 8
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Get it.")


def test_outside_of_a_task_there_is_no_current_one() -> None:
    with pytest.raises(RuntimeError, match="inside of a function that is decorated"):
        current_task()


def test_a_task_knows_its_limits() -> None:
    assert definition(fetch).timeout_ms == 300_000
    assert (definition(square).timeout_ms, definition(square).policy.attempts) == (None, 3)
    assert definition(fetch).key.endswith("test_sdk_task.fetch")
    assert definition(Shop.fetch).key.endswith("test_sdk_task.Shop.fetch")


def test_arguments_are_bound_by_name_with_their_defaults() -> None:
    call = definition(fetch).bind(("a",), {"deep": True})
    assert msgspec.json.decode(call.arguments) == {"sku": "a", "count": 1, "rest": [], "deep": True, "more": {}}
    other = definition(fetch).bind(("a", 1), {"deep": True})
    assert other.content == call.content
    assert definition(fetch).bind(("a", 2), {}).content != call.content


def test_arguments_that_do_not_fit_are_a_type_error_as_in_python() -> None:
    with pytest.raises(TypeError, match=r"fetch\(\) missing a required argument: 'sku'"):
        definition(fetch).bind((), {})


def test_an_argument_that_json_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(InvalidPayloadError, match=r"argument 'sku' of task 'fetch' holds a _thread.lock"):
        definition(fetch).bind((__import__("threading").Lock(),), {})
    with pytest.raises(InvalidPayloadError, match=r"argument 'rest' of task 'fetch'\[0\] is nan"):
        definition(fetch).bind(("a", 1, float("nan")), {})
    with pytest.raises(PayloadTooLargeError, match="the arguments of task 'fetch'"):
        definition(fetch).bind(("a" * 600_000,), {"x": "b" * 600_000})


def test_a_result_comes_back_as_the_annotated_type() -> None:
    data = b'{"sku":"a","price":"1.10"}'
    assert definition(fetch).result(data) == Line("a", Decimal("1.10"))


def test_a_task_without_an_annotation_gives_plain_data() -> None:
    @task
    def plain():  # type: ignore[no-untyped-def]
        return Line("a", Decimal(1))

    @task
    def never() -> NoReturn:
        raise ValueError

    assert definition(plain).result(b'{"sku":"a"}') == {"sku": "a"}
    assert definition(never).result_type is Any


def test_types_local_to_the_declaration_are_found() -> None:
    class Here(msgspec.Struct):
        x: int

    @task
    async def local() -> Here:
        return Here(1)

    assert definition(local).result(b'{"x":1}') == Here(1)


def test_types_defined_later_are_found_when_they_are_needed() -> None:
    assert definition(_early).result(b'{"x":1}') == Later(1)


@task
async def _early() -> Later:
    return Later(1)


class Later(msgspec.Struct):
    x: int


def declare(which: str) -> Any:
    async def good() -> None:
        await asyncio.sleep(0)

    def generator() -> Any:
        yield 1

    async def lost() -> Nowhere:  # type: ignore[name-defined] # noqa: F821
        await asyncio.sleep(0)

    wrong: dict[str, Callable[[], Any]] = {
        "class": lambda: task(Line),  # type: ignore[arg-type]
        "number": lambda: task(3),  # type: ignore[call-overload]
        "static": lambda: task(staticmethod(good)),
        "lambda": lambda: task(lambda: 1),
        "generator": lambda: task(generator),
        "retry": lambda: task(retry=3),  # type: ignore[call-overload]
        "timeout": lambda: task(timeout=30),  # type: ignore[call-overload]
        "zero": lambda: task(timeout=timedelta(0)),
        "result": lambda: definition(task(lost)).result_type,
        "call": lambda: definition(task(lost)).bind((), {}),
    }
    return wrong[which]()


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("class", "is not a function"),
        ("number", "@task: 3 is not a function"),
        ("static", "is not a function"),
        ("lambda", "a lambda has no name"),
        ("generator", "task 'generator': a task cannot be a generator"),
        ("retry", "@task: retry is 3"),
        ("timeout", "timeout must be a timedelta"),
        ("zero", "a timeout of zero"),
        ("result", "the return annotation 'Nowhere' cannot be resolved"),
        ("call", "the return annotation 'Nowhere' cannot be resolved"),
    ],
)
def test_a_task_that_is_declared_wrongly_is_refused_with_place_and_remedy(which: str, message: str) -> None:
    with pytest.raises(RegistrationError, match=message) as caught:
        declare(which)
    assert "test_sdk_task.py:" in caught.value.message
    assert caught.value.hint


def test_a_decorator_below_does_not_hide_that_it_is_a_coroutine_function() -> None:
    async def inner() -> int:
        return 1

    @functools.wraps(inner)
    def outer() -> Any:
        return inner()

    assert definition(task(outer)).is_async


def test_the_loader_finds_a_task_whose_result_cannot_be_resolved() -> None:
    module = types.ModuleType("shop")
    module.__dict__["task"] = task
    exec("@task\nasync def pay() -> Nowhere: ...\ndef helper(): ...\n", module.__dict__)
    module.__dict__["imported"] = fetch
    assert [one.name for one in tasks_of(module)] == ["pay"]
    problems = Problems(sources := Sources("."))
    Collector(sources, Functions(lambda _: None), problems, [], lambda _: None).collect([("shop.py", module)])
    problem = problems.found[0]
    assert "the return annotation 'Nowhere' cannot be resolved" in problem.message
    assert sys.modules.get("shop") is None
