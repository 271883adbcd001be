"""What `wfctl __complete` offers for each place of a command line, and that it is silent whatever goes wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cli import Cli
from support.commandtree import FILE, text
from support.fake_daemon import FakeDaemon
from support.runs import run
from wfctl.cli.app import VERBS, load
from wfctl.cli.complete import run as execute, split
from wfctl.errors import UsageError, WfctlError
from wfctl.protocol.calls import Ids, IdsFound, IdView, List, RunPage, WorkflowList
from wfctl.protocol.schedules import ScheduleList, ScheduleView
from wfctl.protocol.views import Outcome, WorkflowView
from wfctl.values.signature import HandlerSpec, ParamSpec, TypeSpec
from wfctl.values.status import Status

Start = Callable[..., FakeDaemon]
Offered = Callable[..., list[str]]
ORDER = TypeSpec(
    "Order",
    (
        HandlerSpec("start", "begin", "begin", (ParamSpec("order_id", "int"), ParamSpec("amount", "float"))),
        HandlerSpec("event", "pay", "pay", (ParamSpec("by", "str"),)),
        HandlerSpec("event", "pause", "pause"),
        HandlerSpec("query", "total", "total", (ParamSpec("currency", "str"),)),
    ),
)
PAYMENT = TypeSpec("Payment", (HandlerSpec("start", "begin", "begin"),))


@pytest.fixture
def shop(daemon: Start) -> FakeDaemon:
    runs = [
        run(workflow_id="order-1", run_id="01A", type="Order", status="waiting"),
        run(workflow_id="order-2", run_id="01B", type="Order", status="completed"),
        run(workflow_id="shop:eu/7", run_id="01C", type="Payment", status="running"),
    ]

    def page(call: List) -> RunPage:
        items = [one for one in runs if not call.statuses or one.status in call.statuses]
        return RunPage(items=items, next=None, total=len(items))

    def begun(call: Ids) -> IdsFound:
        every = page(List(statuses=[status for status in Status if status.open or not call.open])).items
        found = [
            one for one in every if call.prefix in (one.workflow_id[: len(call.prefix)], one.run_id[: len(call.prefix)])
        ]
        return IdsFound(
            items=[
                IdView(
                    run_id=one.run_id, workflow_id=one.workflow_id, workflow_type=one.workflow_type, status=one.status
                )
                for one in found
            ]
        )

    return daemon(
        list=page,
        ids=begun,
        workflows=WorkflowList(
            items=[WorkflowView(spec=ORDER, generation=1), WorkflowView(spec=PAYMENT, generation=1)], problems=[]
        ),
        result=lambda call: Outcome(run_id="01A", workflow_id=call.id, workflow_type="Order", status=Status.WAITING),
    )


@pytest.fixture
def offered(project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Offered:
    """The values that are offered after these words. A busy machine gets longer to answer than a person would wait."""
    monkeypatch.setattr("wfctl.cli.complete.LIMIT_S", 20.0)

    def ask(*words: str, mode: str = "words") -> list[str]:
        assert execute(["__complete", mode, *words]) == 0
        said = capfd.readouterr()
        assert said.err == ""
        return [line.partition("\t")[0] for line in said.out.splitlines()]

    return ask


def test_commands_and_their_options_are_offered(offered: Offered) -> None:
    assert offered("") == list(VERBS)
    assert offered("ter") == ["terminate"]
    assert offered("-o", "json", "ter") == ["terminate"]
    assert offered("list", "--st") == ["--status"]
    assert offered("tail", "--no") == ["--no-logs"]
    assert {"--output", "--project", "--help"} <= set(offered("--"))
    assert offered("nothing", "") == []


def test_words_that_are_known_need_no_daemon(offered: Offered) -> None:
    assert offered("-o", "j") == ["json", "jsonl"]
    assert offered("list", "--output=i") == ["--output=id"]
    assert offered("list", "--status", "fa") == ["failed"]
    assert offered("list", "--status", "failed,c") == [
        "failed,cancelling", "failed,completed", "failed,cancelled", "failed,closed",
    ]  # fmt: skip
    assert offered("start", "Order", "--if-running", "") == ["fail", "use"]
    assert offered("start", "Order", "--if-closed", "") == ["start", "use", "fail"]
    assert offered("explain", "daemon_d") == ["daemon_down"]
    assert offered("init", "--template", "o") == ["orders"]
    assert offered("completion", "") == ["bash", "zsh", "fish", "install"]
    assert offered("completion", "install", "f") == ["fish"]


def test_files_are_left_to_the_shell(offered: Offered) -> None:
    assert offered("backup", "x") == offered("restore", "") == offered("--project", "") == [":files"]


def test_runs_are_offered_by_what_the_command_can_do_with_them(offered: Offered, shop: FakeDaemon) -> None:
    assert offered("show", "") == ["order-1", "shop:eu/7", "order-2", "@last"]
    assert offered("cancel", "") == ["order-1", "shop:eu/7", "@last"]
    assert offered("cancel", "order-1", "") == ["shop:eu/7", "@last"]
    assert offered("show", "01B") == ["01B"]
    assert offered("list", "--parent", "order") == ["order-1", "order-2"]
    assert offered("show", "order-1", "") == ["shop:eu/7", "order-2", "@last"]
    assert offered("timeline", "order-1", "") == []


def test_what_is_typed_is_looked_for_among_all_runs(offered: Offered, shop: FakeDaemon) -> None:
    old = IdView(run_id="01Z", workflow_id="order-0", workflow_type="Order", status=Status.COMPLETED)
    shop.answers["ids"] = IdsFound(items=[old])
    assert offered("show", "ord") == ["order-0"]
    assert offered("cancel", "ord") == ["order-0"]
    assert [(call.prefix, call.open) for call in shop.asked("ids")] == [("ord", False), ("ord", True)]
    assert shop.asked("list") == []
    shop.answers["ids"] = UsageError("unknown method 'ids'")
    assert offered("show", "ord") == ["order-1", "order-2"], "of a daemon that is older, the newest"


def test_types_events_queries_and_parameters_are_offered(offered: Offered, shop: FakeDaemon) -> None:
    assert offered("start", "") == ["Order", "Payment"]
    assert offered("list", "--type", "P") == offered("graph", "P") == ["Payment"]
    assert offered("send", "order-1", "pay", "--id", "") == []
    assert offered("start", "Order", "") == ["order_id=", "amount="]
    assert offered("start", "Order", "--id", "x", "order_id=1", "") == ["amount="]
    assert offered("send", "order-1", "pa") == ["pay", "pause"]
    assert offered("send", "order-1", "pay", "") == ["by="]
    assert offered("query", "order-1", "") == ["total"]
    assert offered("query", "order-1", "total", "") == ["currency="]


def test_schedules_are_offered_by_what_the_command_can_do_with_them(offered: Offered, daemon: Start) -> None:
    def one(id: str, status: str, created_at: int | None = 1) -> ScheduleView:
        return ScheduleView(schedule_id=id, status=status, workflow_type="Order", created_at=created_at)

    items = [one("a", "active"), one("b", "blocked"), one("e", "ended"), one("p", "paused"), one("x", "blocked", None)]
    daemon(schedule_list=ScheduleList(items=items))
    assert offered("schedule", "pause", "") == ["a", "b"]
    assert offered("schedule", "pause", "a", "") == ["b"]
    assert offered("schedule", "resume", "") == ["p"]
    assert offered("schedule", "run-now", "") == offered("schedule", "show", "") == ["a", "b", "e", "p"]
    assert offered("schedule", "remove", "") == ["a", "b", "e", "p", "x"]


def test_bash_gets_what_follows_the_end_of_its_word(offered: Offered, shop: FakeDaemon) -> None:
    assert offered("wfctl show shop", mode="line") == ["shop:eu/7"]
    assert offered("wfctl show shop:e", mode="line") == ["eu/7"]
    assert offered("wfctl show shop:e", " \t\n", mode="line") == ["shop:eu/7"]
    assert offered("wfctl list --status=fa", mode="line") == ["failed"]
    assert offered("wfctl list ", mode="line") == []


@pytest.mark.parametrize(
    ("typed", "put"),
    [
        ("me@h", ["@here"]),
        ("a", ["a\\ b", "a\\;b"]),
        ("a\\ ", ["a\\ b"]),
        ("'a ", ["'a b'"]),
        ('"a ', ['"a b"']),
        ("it", ["it\\'s"]),
        ("'it", ["'it'\\''s'"]),
        ('"it', ['"it\'s"']),
        ('"$', ['"\\$x:\\"1\\""']),
        ("\\$x:", ['\\"1\\"']),
        ("\\$x\\:", ['\\$x:\\"1\\"']),
        ("'$x:", ["'$x:\"1\"'"]),
        ("'$x':", ['\\"1\\"']),
        ("'$x:'", ['\\$x:\\"1\\"']),
        ('"wow', ['"wow"\\!"me"']),
        ('"wow"\\!"m', ['"me"']),
        ("wow", ["wow\\!me"]),
        ("'wow", ["'wow!me'"]),
    ],
)
def test_bash_puts_an_id_as_its_word_is_quoted(offered: Offered, daemon: Start, typed: str, put: list[str]) -> None:
    ids = ["me@here", "a b", "a;b", "it's", '$x:"1"', "wow!me"]
    runs = [run(workflow_id=id, run_id=f"01{id}", type="Order", status="waiting") for id in ids]
    daemon(list=RunPage(items=runs, next=None, total=len(runs)))
    assert offered(f"wfctl show {typed}", mode="line") == put


def test_other_shells_give_the_last_word_as_it_is_typed(offered: Offered, daemon: Start) -> None:
    runs = [run(workflow_id=id, run_id=f"01{id}", type="Order", status="waiting") for id in ("a b", "it's")]
    daemon(list=RunPage(items=runs, next=None, total=len(runs)))
    for typed in ("a", "a ", "a\\ ", "'a ", '"a ', "'a b'"):
        assert offered("show", typed) == ["a b"], typed
    assert offered("show", "it") == offered("show", "it\\'") == offered("show", "\"it'") == ["it's"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("wfctl ", [""]),
        ("wfctl li", ["li"]),
        ("wfctl show 'a b' ", ["show", "a b", ""]),
        ("wfctl show 'a b", ["show", "a b"]),
        ("wfctl show 'a ", ["show", "a "]),
        ("wfctl  show a\\ ", ["show", "a "]),
        ("wfctl start '' ", ["start", "", ""]),
        ("wfctl show a\\", ["show", "a"]),
        ("", []),
    ],
)
def test_a_line_is_split_as_far_as_it_is_typed(line: str, words: list[str]) -> None:
    assert [one.text for one in split(line)] == words


def test_whatever_fails_is_silent(offered: Offered, project: Path, shop: FakeDaemon) -> None:
    assert offered("show", "") != []
    shop.stop()
    shop.remove()
    assert offered("show", "") == []
    assert offered(mode="nonsense") == []
    assert offered() == list(VERBS)
    (project / "wfctl.toml").unlink()
    assert offered("show", "") == []


def test_a_daemon_that_does_not_answer_is_not_waited_for(
    offered: Offered, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfctl.cli.complete.LIMIT_S", 0.15)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(project / "d.sock"))
        silent.listen()

        def take() -> None:
            with silent.accept()[0] as peer:
                while peer.recv(1 << 16):
                    pass

        asked = threading.Thread(target=take)
        asked.start()
        assert offered("show", "") == []
        asked.join(10)
        assert not asked.is_alive()


def test_no_argument_is_forgotten(offered: Offered) -> None:
    """Every metavar of an argument is one that completion knows, or one that only its user can know."""
    from wfctl.cli.complete import Source

    known = {"ID", "TYPE", "STATUS", "EVENT", "NAME", "KEY", "CODE", "FILE", "PATH", "DIR", "SHELL", "ACTION", "SCHEDULE",
             "ZONE"}  # fmt: skip
    assert set(Source("", None, [])._named) == known  # type: ignore[arg-type]
    for verb in VERBS:
        for parameter in load(verb).params:
            if parameter.param_type_name == "argument":
                assert parameter.metavar.strip("[].").split("|")[0].split("=")[0] in known, verb


def test_what_is_offered_is_what_the_commands_take() -> None:
    assert FILE.read_bytes() == text(), "the commands have changed: make completions"


def test_a_daemon_that_refuses_is_silent(offered: Offered, daemon: Start) -> None:
    daemon(list=WfctlError("no"), workflows=WfctlError("no"), hello=WfctlError("nobody is let in"))
    assert offered("show", "") == []
    assert offered("start", "") == []


def test_it_is_hidden_from_people(cli: Cli) -> None:
    assert "__complete" not in cli("--help").out
