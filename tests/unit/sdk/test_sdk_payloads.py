"""What a sender gives against what a handler takes: refused before anything is recorded, or kept as it was given."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path, PurePath
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest

from wfctl import Context, Directive, InvalidPayloadError, Workflow
from wfctl.sdk.handler import Handler
from wfctl.values.codec import canonical, convert, decode, encode, identified
from wfctl.values.kinds import UNBOUND
from wfctl.values.signature import bind
from wfd.engine.arguments import bind_later, bind_plain
from wfd.worker.fitting import Misfit, arguments


def handler_of(function: Any) -> tuple[Workflow, Handler]:
    workflow = Workflow("W")

    @workflow.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    workflow.event(name="e")(function)
    handler = workflow.handler("event", "e")
    assert handler is not None
    return workflow, handler


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "Infinity"])
def test_a_number_that_json_cannot_hold_is_refused_on_the_command_line(word: str) -> None:
    async def e(ctx: Context, f: float) -> Directive:
        return ctx.next.wait_for_event()

    workflow, handler = handler_of(e)
    with pytest.raises(InvalidPayloadError, match=r"parameter 'f' \(float\): .*which JSON cannot hold"):
        bind_plain(workflow.describe(), handler.describe(), b"null", {"f": word})
    bound = msgspec.json.decode(bind_plain(workflow.describe(), handler.describe(), b"null", {"f": "1e3"}))
    assert bound == {"f": 1000.0}
    assert math.isfinite(bound["f"])


@pytest.mark.parametrize(
    "value",
    [
        None, "text", 7, 1.5, True, [2, 1], {}, {"b": 1}, {"b": 1, "a": "x"}, {"c": None, "b": True, "a": -0.0},
        {"b": {"d": 1, "c": 2}, "a": [{"f": 1, "e": 2}]}, {"b": {"x", "y", "z"}, "a": 1}, {"b": 2**70, "a": "é"},
    ],
)  # fmt: skip
def test_what_identifies_a_payload_is_told_with_it_and_does_not_depend_on_the_order_of_its_keys(value: Any) -> None:
    assert identified(value, "input of", "Order") == (encode(value, "it"), canonical(value))
    if isinstance(value, dict):
        turned = dict(reversed(value.items()))
        assert identified(turned, "input of", "Order") == (encode(turned, "it"), canonical(value))


@pytest.mark.parametrize(
    "value", [math.nan, {"a": math.inf}, {1: 2}, {"a": object()}, "\ud800", {"a": "\ud800", "b": 1}]
)
def test_a_payload_that_cannot_be_told_is_named_as_where_only_that_is_asked(value: Any) -> None:
    with pytest.raises(InvalidPayloadError) as plain:
        encode(value, "input of 'Order'")
    with pytest.raises(InvalidPayloadError) as raised:
        identified(value, "input of", "Order")
    assert raised.value.to_data() == plain.value.to_data()


async def any_keywords(ctx: Context, **rest: Any) -> Directive:
    return ctx.next.wait_for_event()


async def positional_context(ctx: Context, /, **rest: Any) -> Directive:
    return ctx.next.wait_for_event()


@pytest.mark.parametrize("name", ["ctx", UNBOUND])
def test_keywords_do_not_take_a_name_that_is_taken(name: str) -> None:
    _, handler = handler_of(any_keywords)
    for given in ({"payload": {name: 3}}, {"payload": None, "text": {name: "3"}}):
        with pytest.raises(InvalidPayloadError, match=f"unknown parameter {name!r}".replace("$", r"\$")):
            bind(handler.describe(), what="payload", **given)  # type: ignore[arg-type]


def test_a_context_that_is_positional_only_leaves_its_name_free() -> None:
    _, handler = handler_of(positional_context)
    assert bind(handler.describe(), {"ctx": 3}, "payload") == {"ctx": 3}
    assert arguments(handler, b'{"ctx":3}') == {"ctx": 3}


def test_what_was_recorded_under_the_contexts_name_waits_for_other_code() -> None:
    _, handler = handler_of(any_keywords)
    with pytest.raises(Misfit, match="that is what the handler calls its context"):
        arguments(handler, b'{"ctx":3}')


def test_text_for_a_handler_that_is_not_there_is_read_by_it_once_it_is() -> None:
    async def e(ctx: Context, x: int, note: str) -> Directive:
        return ctx.next.wait_for_event()

    _, handler = handler_of(e)
    kept = bind_later(b'{"note":"a"}', {"x": "3"}, "e")
    assert arguments(handler, kept) == {"x": 3, "note": "a"}


@pytest.mark.parametrize(
    ("wanted", "text", "problem"),
    [
        (list[str], "[1]", r"expected str at \[0\]"),
        (Literal[1, 2], "3", "got 3"),
        (dict[int, str], '{"a":"b"}', "expected int"),
    ],
)
def test_of_text_that_reads_as_json_the_error_says_where_in_it_the_trouble_is(
    wanted: Any, text: str, problem: str
) -> None:
    async def e(ctx: Context, v: Any) -> Directive:
        return ctx.next.wait_for_event()

    _, handler = handler_of(e)
    with pytest.raises(InvalidPayloadError, match=problem):
        bind(handler.describe(), None, "payload", text={"v": text}, types={"v": wanted})


@pytest.mark.parametrize(
    ("wanted", "word", "told"),
    [
        (timedelta, "1h", r'parameter \'x\' \(timedelta\): expected an ISO 8601 duration such as PT1H30M, got "1h"'),
        (datetime, "now", r"expected a time such as 2026-11-28T09:00:00Z, got "),
        (date, "now", r"expected a date such as 2026-11-28, got "),
        (time, "now", r"expected a time of day such as 09:00:00, got "),
        (bytes, "%", r"expected base64 such as aGVsbG8=, got "),
        (bool, "yes", r"expected true or false, got \"yes\""),
        (list[timedelta], '["1h"]', r"expected an ISO 8601 duration such as PT1H30M at \[0\], got "),
    ],
)
def test_text_that_is_no_such_value_is_refused_with_an_example_that_is(wanted: Any, word: str, told: str) -> None:
    async def e(ctx: Context, x: Any) -> Directive:
        return ctx.next.wait_for_event()

    e.__annotations__["x"] = wanted
    workflow, handler = handler_of(e)
    with pytest.raises(InvalidPayloadError, match=told) as caught:
        bind_plain(workflow.describe(), handler.describe(), b"null", {"x": word})
    example = re.search(r"such as (\S+?),? ", str(caught.value))
    for good in ["true", "FALSE", "1", "0"] if example is None else [example[1]]:
        text = f'["{good}"]' if wanted == list[timedelta] else good
        assert bind_plain(workflow.describe(), handler.describe(), b"null", {"x": text})


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (Path, Path("a/b")), (list[PurePath], [PurePath("a")]), (Iterable[int], [1, 2]), (typing.Iterable[Path], [Path("x")]),
        (Mapping[str, Sequence[int]], {"a": [1]}), (Iterable[int] | None, [1]), (dict[str, Container[str]], {"a": ["b"]}),
    ],
)  # fmt: skip
def test_paths_and_the_names_of_containers_are_read_as_they_were_put(wanted: Any, value: Any) -> None:
    assert convert(decode(encode(value, "x")), wanted, "x") == value
    with pytest.raises(InvalidPayloadError, match=r"expected|cannot make a "):
        convert(1.5, wanted, "x")


def test_the_items_of_an_iterable_are_of_its_type() -> None:
    with pytest.raises(InvalidPayloadError, match="expected int"):
        convert(["a"], Iterable[int], "x")


class Meeting(pydantic.BaseModel):
    at: datetime


@dataclasses.dataclass
class Visit:
    at: datetime


def test_a_time_whose_offset_has_seconds_is_refused_as_text_would_make_another_of_it() -> None:
    at = datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))
    for value, path in [
        (at, "x"), ({"a": [at]}, "x['a'][0]"), (Meeting(at=at), "x: Meeting.at"), (Visit(at), "x.at"),
        (at.timetz().replace(tzinfo=timezone(timedelta(seconds=561))), "x"),
    ]:  # fmt: skip
        with pytest.raises(InvalidPayloadError, match=f"^{re.escape(path)} is in a time zone whose offset") as caught:
            encode(value, "x")
        assert "astimezone(UTC)" in str(caught.value.hint)
    for same in (at.astimezone(UTC), at.replace(year=2026), at.replace(tzinfo=None)):
        assert convert(decode(encode(same, "x")), datetime, "x") == same
