"""On a terminal of few columns what is read is broken or cut to fit; what is copied stays whole: IDs, data, commands, times."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon
from support.runs import run
from wfctl.cli.render.text import cells
from wfctl.protocol.code import MissingView, UnloadedView, WorkflowList, WorkflowView
from wfctl.protocol.runs import RunDetail
from wfctl.values.signature import HandlerSpec, ParamSpec, TypeSpec

Start = Callable[..., FakeDaemon]


@pytest.mark.parametrize("columns", range(18, 40, 3))
def test_workflow_types_fit_a_narrow_terminal(cli: Cli, daemon: Start, columns: int) -> None:
    params = (ParamSpec("order_id", "str"), ParamSpec("number", "int", False, "1"))
    handlers = (
        HandlerSpec("start", "order_start", "order_start", params, line=1033),
        HandlerSpec("query", "state", "of"),
    )
    spec = TypeSpec("Order", handlers, "orders", "orders.py", 30, doc="What a customer has ordered, until it is there.")
    view = WorkflowView(
        spec=spec, generation=1, source_hash="3f9a", loaded_at=NOW, open_runs=2, limit=3, executing=3, waiting=12,
        missing=[MissingView(kind="event", name="cancelled", runs=3)],
    )  # fmt: skip
    daemon(
        workflows=WorkflowList(
            items=[view], problems=[], unloaded=[UnloadedView(workflow_type="Parcel", open_runs=12_000)]
        )
    )
    said = cli("--color", "never", "workflows", tty=True, columns=columns)
    assert [line for line in said.out.splitlines() if cells(line) > columns] == []
    # What it is called and where it is written, on as many lines as that needs.
    assert " ".join(said.out.split()).startswith("Order orders.py:30 2 open runs limit 3: 3 executing, 12 waiting")
    assert "order_s" in said.out


def test_a_run_has_its_facts_below_their_names_where_there_is_no_room_beside(cli: Cli, daemon: Start) -> None:
    error = "the card was declined by the bank of the customer"
    detail = RunDetail(
        run=run("order-1", status="stuck", stuck_reason=error, run_id="01KZ"),
        input=msgspec.Raw(b'{"order_id":"1","amount":9.99}'),
        history_entries=6,
    )
    daemon(get=detail)

    def shown(columns: int) -> list[str]:
        return cli("--color", "never", "-q", "show", "order-1", tty=True, columns=columns).out.splitlines()

    lines = shown(20)
    whole = {'input  {"order_id":"1","amount":9.99}'}
    assert [line for line in lines if cells(line) > 20 and line not in whole and len(line.split()) > 1] == []
    assert {"run ID  01KZ", "status  # stuck", *whole} <= set(lines)
    at = lines.index("stuck  the card was")
    assert lines[at + 1 : at + 4] == ["    declined by the", "    bank of the", "    customer"]
    assert "stuck        the card was declined by" in shown(40), "beside, where there is"
