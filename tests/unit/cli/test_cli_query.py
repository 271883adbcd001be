"""`wfctl query`: what is asked, how the answer is printed, and what there is to ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon
from wfctl.errors import InvalidPayloadError, RunNotFoundError, UnknownQueryError
from wfctl.protocol.calls import QueryAnswer, WorkflowList
from wfctl.protocol.views import Outcome, WorkflowView
from wfctl.values.signature import HandlerSpec, ParamSpec, TypeSpec
from wfctl.values.status import Status

Start = Callable[..., FakeDaemon]
RUN = Outcome(run_id="01JF", workflow_id="order-1", workflow_type="Order", status=Status.COMPLETED)
TOTAL = HandlerSpec(
    "query", "total", "total_of", (ParamSpec("currency", "str", False, "'EUR'"),), line=40,
    doc="What the order costs.\n\nWith tax.",
)  # fmt: skip
STATE = HandlerSpec("query", "state", "state", line=50)
ORDER = TypeSpec("Order", (HandlerSpec("start", "begin", "begin"), TOTAL, STATE), "orders", "orders.py", 30)


def answer(value: bytes) -> QueryAnswer:
    return QueryAnswer(run_id="01JF", workflow_id="order-1", value=msgspec.Raw(value))


def served(*types: TypeSpec) -> WorkflowList:
    return WorkflowList(items=[WorkflowView(spec=spec, generation=1) for spec in types], problems=[])


def test_a_query_gets_its_inputs_as_an_event_does(cli: Cli, daemon: Start) -> None:
    fake = daemon(query=answer(b"9.99"))
    said = cli("query", "order-1", "total", "currency=EUR", "rounded:=true", "-i", '{"tax": 19}')
    assert said == (0, "9.99\n", "")
    (call,) = fake.asked("query")
    assert (call.id, call.name, call.text) == ("order-1", "total", {"currency": "EUR"})
    assert bytes(call.input) == b'{"tax":19,"rounded":true}'


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (b'"on its way"', "on its way\n"),
        (b'{"amount":9.990,"id":12345678901234567890}', '{"amount":9.990,"id":12345678901234567890}\n'),
        (b"null", "null\n"),
        (b'""', "\n"),
    ],
)
def test_text_is_printed_bare_and_the_rest_as_json(cli: Cli, daemon: Start, value: bytes, printed: str) -> None:
    daemon(query=answer(value))
    assert cli("query", "order-1", "total").out == printed


def test_an_answer_is_a_document_in_json_and_a_run_among_ids(cli: Cli, daemon: Start) -> None:
    daemon(query=answer(b'"text"'))
    for output in ("json", "jsonl"):
        assert cli("query", "order-1", "total", "-o", output).json == {
            "schema": "wfctl.query/1", "run_id": "01JF", "workflow_id": "order-1", "name": "total", "value": "text",
        }  # fmt: skip
    assert cli("query", "order-1", "total", "-o", "id").out == "01JF\n"


def test_without_a_name_the_queries_are_listed_with_what_they_take(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=RUN, workflows=served(TypeSpec("Other", ()), ORDER))
    said = cli("query", "order-1")
    assert said.out.splitlines() == [
        "NAME\tFUNCTION\tPARAMETERS\tFILE\tLINE",
        "total\ttotal_of\t(currency: str = 'EUR')\torders.py\t40",
        "state\tstate\t()\torders.py\t50",
    ]
    assert (said.code, said.err, fake.asked("result")[0].wait) == (0, "", False)
    drawn = cli("--color", "never", "query", "order-1", tty=True).out
    assert drawn.splitlines() == ["total(currency: str = 'EUR')  What the order costs.", "state()"]
    document: Any = cli("query", "order-1", "-o", "json").json
    assert (document["schema"], document["workflow_type"], document["total"]) == ("wfctl.queries/1", "Order", 2)
    assert [item["name"] for item in document["items"]] == ["total", "state"]
    assert cli("query", "order-1", "-o", "id").out == "total\nstate\n"
    assert len(cli("query", "order-1", "-o", "jsonl").lines) == 2


@pytest.mark.parametrize("columns", [0, 20, 40, 80, 200])
def test_the_list_of_queries_fits_the_terminal(cli: Cli, daemon: Start, columns: int) -> None:
    daemon(result=RUN, workflows=served(ORDER))
    drawn = cli("--color", "never", "query", "order-1", tty=True, columns=columns).out
    assert all(len(line) < (columns or 80) for line in drawn.splitlines())


def test_a_type_without_queries_says_so(cli: Cli, daemon: Start) -> None:
    daemon(result=RUN, workflows=served(TypeSpec("Order", ())))
    assert cli("query", "order-1") == (0, "", "workflow type 'Order' has no queries\n")


def test_a_type_that_is_not_loaded_is_four(cli: Cli, daemon: Start) -> None:
    daemon(result=RUN, workflows=served())
    said = cli("query", "order-1")
    assert (said.code, said.out) == (4, "")
    assert said.err == (
        "error[unknown_type]: workflow type 'Order' of run 'order-1' is not loaded, so its queries are not known\n"
        "  try: wfctl workflows\n"
    )


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("totl", ["total", "state"], "wfctl query 'order 1' total"),
        ("frobnicate", ["total", "state"], "wfctl query 'order 1'"),
        ("total", [], "wfctl workflows"),
    ],
)
def test_an_unknown_query_is_four_with_what_to_type(
    cli: Cli, daemon: Start, name: str, known: list[str], hint: str
) -> None:
    message = f"workflow type 'Order' has no query {name!r}"
    daemon(query=UnknownQueryError(message, hint="wfctl workflows", query=name, known=known))
    said = cli("query", "order 1", name)
    assert (said.code, said.out) == (4, "")
    assert said.err == f"error[unknown_query]: {message}\n  try: {hint}\n"


def test_arguments_that_do_not_fit_are_the_daemons_to_refuse(cli: Cli, daemon: Start) -> None:
    daemon(query=InvalidPayloadError("arguments of query 'total': unknown parameter 'x'", hint="it takes ()"))
    assert cli("query", "order-1", "total", "x=1").code == 2


def test_arguments_without_a_query_are_refused_before_anything_is_sent(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=RUN)
    said = cli("query", "order-1", "-i", "{}")
    assert said.code == 2
    assert said.err == (
        "error[usage]: -i gives a query its arguments, but no query is named\n  try: wfctl query order-1\n"
    )
    assert fake.calls == []


def test_asking_an_unknown_run_is_four(cli: Cli, daemon: Start) -> None:
    missing = RunNotFoundError("no run 'none'", hint="wfctl list")
    daemon(query=missing, result=missing)
    for words in (("query", "none"), ("query", "none", "total")):
        assert cli(*words) == (4, "", "error[run_not_found]: no run 'none'\n  try: wfctl list\n")
