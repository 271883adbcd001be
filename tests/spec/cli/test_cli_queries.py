"""Queries from the command line and from programs, against the real daemon."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support.project import Project
from wfctl import Client, QueryFailedError, UnknownQueryError
from wfd import reading
from wfd.config import load

FLOWS = """
from dataclasses import dataclass
from wfctl import Context, Directive, Workflow

order = Workflow("Order")
plain = Workflow("Plain")

@dataclass
class Money:
    amount: float
    currency: str

@order.start()
async def begin(ctx: Context, amount: float) -> Directive:
    ctx.store.put("amount", amount)
    return ctx.next.wait_for_event()

@order.event()
async def finish(ctx: Context) -> Directive:
    ctx.store.put("amount", 0.0)
    return ctx.next.complete()

@order.query()
async def total(ctx, currency: str = "EUR", times: int = 1) -> Money:
    \"\"\"What the order costs.\"\"\"
    return Money(times * await ctx.store.get("amount", float), currency)

@order.query()
async def state(ctx) -> str:
    return "on its way"

@order.query()
async def broken(ctx) -> str:
    raise ValueError("no idea")

@order.query()
async def missing(ctx) -> str:
    return await ctx.store.get("count")

@plain.start()
async def only(ctx: Context) -> Directive:
    return ctx.next.complete()
"""


@dataclass
class Money:
    amount: float
    currency: str


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("asked"), {"flows.py": FLOWS})
    project.serve()
    project.ok("start", "Order", "--id", "open", "amount=2.5", "-q")
    project.ok("start", "Order", "--id", "closed", "amount=2.5", "-q")
    project.ok("send", "closed", "finish", "-q")
    project.ok("result", "closed")
    yield project
    project.stop()


def test_a_run_answers_from_its_committed_store(asked: Project) -> None:
    assert json.loads(asked.ok("query", "open", "total")) == {"amount": 2.5, "currency": "EUR"}
    assert json.loads(asked.ok("query", "open", "total", "times=2", "-i", '{"currency": "CHF"}')) == {
        "amount": 5.0, "currency": "CHF",
    }  # fmt: skip
    assert asked.ok("query", "open", "state") == "on its way\n"
    document = asked.json("query", "open", "total")
    assert (document["schema"], document["name"]) == ("wfctl.query/1", "total")
    assert document["value"]["amount"] == 2.5


def test_a_closed_run_answers_too_and_asking_changes_nothing(asked: Project) -> None:
    before = asked.json("show", "closed")
    assert json.loads(asked.ok("query", "closed", "total"))["amount"] == 0.0
    assert asked.json("show", "closed") == before


def test_what_can_be_asked_is_listed_by_name(asked: Project) -> None:
    assert asked.ok("query", "open", "-o", "id").splitlines() == ["total", "state", "broken", "missing"]
    said = asked.run("start", "Plain", "--id", "plain")
    assert said.returncode == 0
    assert asked.run("query", "plain").stderr == "workflow type 'Plain' has no queries\n"


@pytest.mark.parametrize(
    ("words", "code", "error", "last"),
    [
        (("open", "totl"), 4, "unknown_query", "  try: wfctl query open total"),
        (("open", "frobnicate"), 4, "unknown_query", "  try: wfctl query open"),
        (("nosuchrun", "total"), 4, "run_not_found", "  try: wfctl list"),
        (("nosuchrun",), 4, "run_not_found", "  try: wfctl list"),
        (("open", "total", "times=many"), 2, "invalid_payload", None),
        (("open", "total", "curency=EUR"), 2, "invalid_payload", None),
        (("open", "total", "-i", "{"), 2, "invalid_argument", None),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_error_by_name(
    asked: Project, words: tuple[str, ...], code: int, error: str, last: str | None
) -> None:
    done = asked.run("query", *words)
    assert (done.returncode, done.stdout) == (code, "")
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"error[{error}]: ")
    assert len(lines) <= 3
    assert last is None or lines[-1] == last


def test_a_query_that_raises_tells_what_and_leaves_the_run_alone(asked: Project) -> None:
    done = asked.run("query", "open", "broken")
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first.startswith(
        "error[query_failed]: query 'broken' of workflow 'Order' raised ValueError: no idea (flows.py:"
    )
    assert last == "  hint: correct the handler, then ask again; with -o json this has the traceback"
    assert asked.json("show", "open")["status"] == "waiting"


def test_an_error_of_wfctl_that_a_query_raises_is_told_with_its_place_and_remedy(asked: Project) -> None:
    done = asked.run("query", "open", "missing")
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    # What else the store has depends on the tests before.
    assert first.startswith(
        "error[query_failed]: query 'missing' of workflow 'Order' raised StoreKeyNotFoundError: "
        "the store has no key 'count' ("
    )
    assert "(flows.py:" in first
    assert last == "  hint: it has: amount; ctx.store.get('count', default=...) does not raise"


async def test_a_program_asks_the_same(asked: Project) -> None:
    async with Client.connect(asked.socket) as client:
        handle = client.handle("open")
        with pytest.raises(QueryFailedError, match="no idea"):
            await handle.query("broken")
        with pytest.raises(QueryFailedError, match="the store has no key 'count'"):
            await handle.query("missing")
        assert await handle.query("total", {"times": 3}, type=Money) == Money(7.5, "EUR")
        assert await handle.query("state") == "on its way"
        with pytest.raises(UnknownQueryError):
            await handle.query("totl")


# -- without a worker ----------------------------------------------------------------------------------

NO_DAEMON = "no daemon runs; this is read from its database as it lies\n"


@pytest.fixture(scope="module")
def left(asked: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the same runs, and no daemon."""
    folder = tmp_path_factory.mktemp("left")
    project = Project(folder / "shop", {"flows.py": FLOWS})
    asked.ok("backup", str(folder / "runs.backup"))
    project.ok("restore", str(folder / "runs.backup"))
    return project


def test_where_no_daemon_runs_a_query_is_answered_from_the_last_state_and_stderr_says_so(left: Project) -> None:
    """CLI contract, section 6: answer from last state if no worker, flagged on stderr."""
    before = left.database.read_bytes()
    done = left.run("query", "open", "total", "times=2", "currency=CHF")
    assert (done.returncode, done.stderr) == (0, NO_DAEMON)
    assert json.loads(done.stdout) == {"amount": 5.0, "currency": "CHF"}
    assert left.run("query", "open", "totl").returncode == 4
    assert left.run("query", "open", "broken").stderr.startswith(
        f"{NO_DAEMON}error[query_failed]: query 'broken' of workflow 'Order' raised ValueError: no idea"
    )
    assert left.ok("query", "open", "-o", "id") == "total\nstate\nbroken\nmissing\n"
    assert left.database.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("x = ", "unknown_type", "workflow type 'Order' is not loaded; flows.py:1: SyntaxError: invalid syntax"),
        (
            "import os; os._exit(3)",
            "unknown_type",
            "workflow type 'Order' is not loaded; flows.py: ended the process (exit code 3) while it was imported",
        ),
    ],
)
def test_code_that_cannot_answer_is_named_and_the_store_can_be_read(
    left: Project, code: str, status: str, told: str
) -> None:
    left.write("flows.py", code)
    try:
        done = left.run("query", "open", "total")
        listed = left.run("query", "open")
    finally:
        left.write("flows.py", FLOWS)
    assert listed.returncode != 0
    assert listed.stderr.endswith("  try: wfctl doctor\n")
    assert done.returncode != 0
    assert done.stderr.startswith(f"{NO_DAEMON}error[{status}]: {told}")
    assert json.loads(left.ok("show", "open", "-o", "json"))["store"] == {"amount": 2.5}


WRITES = """
@order.query()
def writes(ctx) -> str:
    import os
    os.utime(".wfctl/wfctl.db")
    return "written"
"""


def test_who_writes_to_the_database_while_a_query_answers_does_not_matter_any_more(left: Project) -> None:
    left.write("flows.py", FLOWS + WRITES)
    try:
        assert left.ok("query", "open", "writes") == "written\n"
    finally:
        left.write("flows.py", FLOWS)


KILLS = """
@order.query()
def kills(ctx) -> str:
    import os
    os.kill(os.getppid(), 9)
"""


def test_the_end_of_the_process_that_reads_the_database_is_told_as_what_it_is(left: Project) -> None:
    """CLI contract, section 4: what failed, and why. There is no daemon that could be blamed."""
    left.write("flows.py", FLOWS + KILLS)
    try:
        done = left.run("query", "open", "kills")
    finally:
        left.write("flows.py", FLOWS)
    told = "the process that reads the database in the daemon's place was ended by signal 9 before it answered 'query'"
    assert done.returncode == 1
    assert done.stderr == f"{NO_DAEMON}error[internal]: {told}\n  hint: try it again, or run a daemon: wfctl up\n"


async def test_a_query_that_does_not_come_to_an_end_is_given_up_before_the_command_line_blames_a_daemon(
    left: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "QUERY_S", 0.0)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    serving = asyncio.create_task(reading.serve(load(left.folder / "wfctl.toml"), theirs))
    incoming, outgoing = await asyncio.open_unix_connection(sock=ours)
    hello = {"protocol_min": 1, "protocol_max": 1, "version": "0"}
    for method, params in (("hello", hello), ("query", {"id": "open", "name": "state"})):
        outgoing.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        said = json.loads(await incoming.readline())
    outgoing.close()
    await serving
    assert said["error"]["message"] == "the code could not answer: not within 0 s"
