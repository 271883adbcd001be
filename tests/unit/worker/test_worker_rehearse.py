"""A trial process: candidate code is run as far as its records go, and judged. Nothing new is done, inside or outside of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.handlers import Desk, apart, recorded
from support.worker_process import WorkerProcess, run_step
from wfctl import Context, Directive, Workflow
from wfctl.protocol.channel import (
    Fits,
    Fitted,
    Given,
    NotYet,
    Op,
    OpDone,
    OpRecord,
    Ping,
    Pong,
    Rehearse,
    Rehearsed,
    RunStep,
    StepDone,
    Stop,
)
from wfctl.values.outcome import ChildOutcome
from wfctl.values.runinfo import RunInfo, encode, started
from wfctl.values.status import Status
from wfd.worker.execute import Executor
from wfd.worker.guard import would
from wfd.worker.rehearse import RehearsedOps

HEAD = """
import asyncio, os, socket, sqlite3, subprocess, threading, time
from datetime import timedelta
from pathlib import Path
from wfctl import Context, Directive, Workflow, task

wf, child = Workflow("Order"), Workflow("Child")

@child.start()
async def started(ctx: Context) -> Directive:
    return ctx.next.complete()

@task
async def charge(what: str) -> str:
    Path("charged").touch()
    return what

@wf.start()
async def begin(ctx: Context, amount: float) -> Directive:
    return ctx.next.complete()

@wf.event()
async def paid(ctx: Context, by: str) -> Directive:
    return ctx.next.complete()

async def line(ctx, *names):
    for name in names:
        await charge(name)
"""
HOUR = "await ctx.sleep(timedelta(hours=1))"


def handler(*lines: str, name: str = "work", plain: bool = False) -> str:
    head = f"@wf.step()\n{'' if plain else 'async '}def {name}(ctx: Context) -> Directive:\n"
    return head + "".join(f"    {line}\n" for line in (*lines, "return ctx.next.complete()"))


def line(number: int) -> str:
    """Where the handler's line `number` (from 0) is."""
    return f"flows.py:{HEAD.count(chr(10)) + 3 + number} in work"


def answer_to(op: Op) -> Any:
    match op.kind:
        case "now":
            return 1_700_000_000_000
        case "child":
            return msgspec.Raw(started(encode(RunInfo("RUN-kid", "kid", op.name))))
        case "child_result":
            return msgspec.to_builtins(kid())
        case "random" | "uuid":
            return msgspec.json.decode(op.args)["value"]
    return None


def kid() -> ChildOutcome[str]:
    return ChildOutcome(run_id="RUN-kid", workflow_id="kid", workflow_type="Child", status=Status.COMPLETED, result="k")


class Stage:
    """`record` runs a handler in a worker and returns what it recorded, `rehearse` shows those records to other code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def _project(self, text: str) -> Path:
        self._count += 1
        project = self._folder / str(self._count)
        project.mkdir()
        (project / "flows.py").write_text(HEAD + text)
        return project

    def record(self, *lines: str, plain: bool = False, until: str = "") -> list[OpRecord]:
        """The records of a whole execution, or of one that is cut short when the operation `until` was begun."""
        records: dict[str, OpRecord] = {}
        project = self._project(handler(*lines, plain=plain))
        with WorkerProcess(project, project / "err") as worker:
            worker.load("flows.py")
            worker.step(1, "step", "work")
            while isinstance(message := worker.receive((Op, StepDone)), Op):
                for one in apart(message):
                    if one.kind != "resume":
                        records[one.key] = recorded(one, answer_to(one))
                    if until and until in one.args.decode():
                        return list(records.values())
                    worker.send(OpDone(1, one.op, msgspec.json.encode(answer_to(one))))
        return list(records.values())

    def rehearse(
        self,
        records: list[OpRecord],
        *lines: str,
        plain: bool = False,
        limit_ms: int = 5_000,
        answer: Callable[[Op], Any] = lambda op: None,
        **options: Any,
    ) -> Rehearsed:
        project = self._project(handler(*lines, plain=plain))
        with WorkerProcess(project, project / "err") as trial:
            loaded = trial.load("flows.py", trial=True)
            assert loaded.problems == []
            trial.send(Rehearse(run_step(7, "step", "work", ops=records, **options), limit_ms))
            while isinstance(message := trial.receive((Op, Rehearsed)), Op):
                value = answer(message)
                done = OpDone(7, message.op, msgspec.json.encode(value))
                trial.send(NotYet(7, message.op) if value is None else done)
            assert sorted(file for file in os.listdir(project) if not file.startswith(("flows", "err"))) == []
        assert message.token == 7
        return message


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def verdict(rehearsed: Rehearsed) -> tuple[str, str, bool]:
    return rehearsed.verdict, rehearsed.reason, rehearsed.clean


AGREES = ("agrees", "", True)
WORK = ("await ctx.now()", "await charge('a')", "await charge('b')")


@pytest.mark.parametrize(
    "edited",
    [
        WORK,
        (*WORK, "await charge('new')"),
        (*WORK, "await ctx.start('Child', 'kid')"),
        (*WORK, "time.sleep(0)", HOUR),
        ("x = 1", *WORK, "return ctx.next.fail('no')"),
        (*WORK, "Path('touched').touch()"),
    ],
)
def test_code_that_asks_for_all_that_is_recorded_agrees_and_does_nothing_new(
    stage: Stage, edited: tuple[str, ...]
) -> None:
    assert verdict(stage.rehearse(stage.record(*WORK), *edited)) == AGREES


def test_a_plain_function_is_followed_in_its_thread(stage: Stage) -> None:
    lines = ("ctx.now()", "charge('a')")
    records = stage.record(*lines, plain=True)
    assert verdict(stage.rehearse(records, *lines, "charge('b')", plain=True)) == AGREES
    differs = stage.rehearse(records, "ctx.now()", "charge('z')", plain=True)
    assert (differs.verdict, differs.clean) == ("differs", True)


def test_code_that_asks_for_something_else_differs_and_says_in_what(stage: Stage) -> None:
    differs = stage.rehearse(stage.record(*WORK), "await ctx.now()", "await charge('z')", "await charge('b')")
    assert differs.verdict == "differs"
    assert "recorded and not asked for: task 'flows.charge'" in differs.reason
    assert "asked for instead: task 'flows.charge'" in differs.reason
    assert line(1) in differs.reason


def test_code_that_ends_before_its_records_differs_with_what_it_raised(stage: Stage) -> None:
    differs = stage.rehearse(stage.record(*WORK), "await ctx.now()", "raise KeyError('x')")
    assert differs.verdict == "differs"
    assert differs.reason.endswith("(it raised KeyError: 'x')")


def test_code_that_raises_after_its_records_agrees_and_says_what_it_raises(stage: Stage) -> None:
    agrees = stage.rehearse(stage.record(*WORK), *WORK, "raise ValueError('after')")
    assert verdict(agrees) == ("agrees", f"ValueError: after ({line(3)})", True)


def test_a_result_that_does_not_fit_its_type_any_more_differs(stage: Stage) -> None:
    records = [msgspec.structs.replace(one, value=b"17") for one in stage.record("await charge('a')")]
    differs = stage.rehearse(records, "await charge('a')")
    assert differs.verdict == "differs"
    assert "does not fit its return type any more" in differs.reason


# -- operations that have no outcome yet -------------------------------------------------------------


def test_a_task_that_was_begun_is_as_far_as_it_goes(stage: Stage) -> None:
    records = stage.record(*WORK, until='"b"')
    assert [one.open for one in records] == [False, False, True]
    assert verdict(stage.rehearse(records, *WORK)) == AGREES


def test_a_sleep_goes_on_where_it_is_over_and_holds_where_it_is_not(stage: Stage) -> None:
    slept = (HOUR, "await charge('a')")
    records = stage.record(*slept)
    asked: list[Op] = []

    def over(op: Op) -> str:
        asked.append(op)
        return "over"

    assert verdict(stage.rehearse(records, *slept, answer=over)) == AGREES
    assert [(op.kind, op.key) for op in asked] == [("resume", records[0].key)]
    assert verdict(stage.rehearse(records[:1], *slept)) == AGREES


def test_how_a_child_ended_is_asked_of_the_daemon(stage: Stage) -> None:
    lines = ("got = await ctx.run_child('Child', 'kid')", "await charge(got)")
    records = stage.record(*lines)
    assert [one.key.partition(":")[0] for one in records] == ["child", "child_result", "task"]
    assert verdict(stage.rehearse(records, *lines)) == AGREES
    assert verdict(stage.rehearse(records[:1], *lines)) == AGREES
    # As an older version recorded it.
    assert verdict(stage.rehearse([records[0], records[2]], *lines, answer=answer_to)) == AGREES


def test_a_child_that_is_ended_otherwise_than_recorded_differs(stage: Stage) -> None:
    lines = ("kid = await ctx.start('Child', 'kid')", "await kid.cancel('late')", "await charge('a')")
    records = stage.record(*lines)
    assert [one.key.partition(":")[0] for one in records] == ["child", "child_cancel", "task"]
    assert verdict(stage.rehearse(records, *lines)) == AGREES
    assert verdict(stage.rehearse(records[:1], *lines)) == AGREES
    assert stage.rehearse(records, lines[0], "await kid.terminate('late')", lines[2]).verdict == "differs"
    assert stage.rehearse(records, lines[0], lines[2]).verdict == "differs"


# -- several branches --------------------------------------------------------------------------------


def test_branches_are_followed_each_to_its_own_end(stage: Stage) -> None:
    both = "await asyncio.gather(line(ctx, 'a', 'b'), line(ctx, 'c', 'd'))"
    records = stage.record(both)
    assert verdict(stage.rehearse(records, both)) == AGREES
    assert verdict(stage.rehearse(records[:2], both)) == AGREES
    more = "await asyncio.gather(line(ctx, 'a', 'b', 'new'), line(ctx, 'c', 'd'))"
    assert verdict(stage.rehearse(records, more)) == AGREES


def test_a_branch_that_is_held_does_not_hide_that_another_differs(stage: Stage) -> None:
    records = stage.record("await asyncio.gather(line(ctx, 'a', 'b'), line(ctx, 'c', 'd'))")
    differs = stage.rehearse(records, "await asyncio.gather(line(ctx, 'a', 'b', 'new'), line(ctx, 'c', 'z'))")
    assert (differs.verdict, differs.clean) == ("differs", True)
    assert "recorded and not asked for: task 'flows.charge'" in differs.reason


# -- what is outside of it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("touches", "words"),
    [
        ("open('f', 'w')", "write to 'f'"),
        ("Path('f').write_text('x')", "write to 'f'"),
        ("os.makedirs('f')", "make folder 'f'"),
        ("os.remove('flows.py')", "remove 'flows.py'"),
        ("os.rename('flows.py', 'g')", "rename 'flows.py'"),
        ("subprocess.run(['ls'])", "run 'ls'"),
        ("os.system('ls')", "run b'ls'"),
        ("os.fork()", "fork"),
        ("os.kill(os.getppid(), 9)", "signal process"),
        ("sqlite3.connect('f')", "open database 'f'"),
        ("socket.create_connection(('127.0.0.1', 9))", "look up '127.0.0.1'"),
        ("socket.socket(socket.AF_UNIX).connect('f')", "connect to 'f'"),
        ("await asyncio.open_connection('127.0.0.1', 9)", "connect to ('127.0.0.1', 9)"),
        ("await asyncio.open_connection('example.com', 9)", "look up 'example.com'"),
        ("await asyncio.to_thread(os.mkdir, 'f')", "make folder 'f'"),
    ],
)
def test_it_is_stopped_before_it_touches_the_world(stage: Stage, touches: str, words: str) -> None:
    stopped = stage.rehearse(stage.record(*WORK), "await ctx.now()", touches, *WORK[1:])
    assert (stopped.verdict, stopped.clean) == ("stopped", True)
    assert stopped.reason.startswith(f"{line(1)}, where it would {words}")


def test_what_swallows_the_refusal_is_still_stopped(stage: Stage) -> None:
    stopped = stage.rehearse(
        stage.record(*WORK), "await ctx.now()", "try: os.mkdir('f')", "except BaseException: pass", "await charge('z')"
    )
    assert stopped.verdict == "stopped"


def test_a_difference_before_the_refusal_stays_a_difference(stage: Stage) -> None:
    differs = stage.rehearse(stage.record(*WORK), "try: await charge('z')", "finally: os.mkdir('f')")
    assert differs.verdict == "differs"


def test_reading_is_no_touching(stage: Stage) -> None:
    reads = ("open('flows.py').read()", "os.listdir('.')", "import colorsys", "open(os.devnull, 'w').write('x')")
    assert verdict(stage.rehearse(stage.record(*WORK), WORK[0], *reads, *WORK[1:])) == AGREES


def test_audit_events_that_do_no_harm_have_no_words() -> None:
    assert would("import", ("os", None, None, None, None)) is None
    assert would("open", ("f", "r", os.O_RDONLY | os.O_CLOEXEC)) is None
    assert would("open", (3, None, os.O_RDWR)) == "write to 3"
    assert would("shutil.rmtree", ("f",)) == "call shutil.rmtree"
    assert would("os.rename", ()) == "rename ?"
    assert len(would("os.mkdir", ("f" * 500,)) or "") < 120


# -- time, cancellation, the process -----------------------------------------------------------------


@pytest.mark.parametrize("pause", ["await asyncio.sleep(60)", "await asyncio.to_thread(threading.Event().wait, 60)"])
def test_what_waits_for_something_else_is_not_judged(stage: Stage, pause: str) -> None:
    waits = stage.rehearse(stage.record(*WORK), WORK[0], pause, *WORK[1:], limit_ms=200)
    assert waits.verdict == "waits"
    assert "waits for something that is not recorded" in waits.reason


def test_short_waits_are_waited_for(stage: Stage) -> None:
    assert verdict(stage.rehearse(stage.record(*WORK), WORK[0], "await asyncio.sleep(0.05)", *WORK[1:])) == AGREES


def test_what_waits_for_nothing_differs(stage: Stage) -> None:
    differs = stage.rehearse(stage.record(*WORK), WORK[0], "await asyncio.Event().wait()", *WORK[1:])
    assert differs.verdict == "differs"
    assert "asked for instead: nothing" in differs.reason


def test_a_handler_that_does_not_let_go_makes_the_process_useless(stage: Stage) -> None:
    stubborn = ("while True:", "    try: await asyncio.sleep(0.01)", "    except BaseException: pass")
    waits = stage.rehearse(stage.record(*WORK), WORK[0], *stubborn, limit_ms=100)
    assert (waits.verdict, waits.clean) == ("waits", False)


def test_a_cancellation_comes_where_it_came(stage: Stage) -> None:
    lines = ("try:", "    await ctx.now()", f"    {HOUR}", "finally:", "    await charge('undo')")
    records = stage.record("await ctx.now()", HOUR)
    assert verdict(stage.rehearse(records, *lines, cancel=True)) == AGREES


def test_one_process_rehearses_many_steps_and_answers_other_questions(tmp_path: Path, stage: Stage) -> None:
    records = stage.record(*WORK)
    (tmp_path / "flows.py").write_text(HEAD + handler(*WORK, name="work") + handler("await ctx.now()", name="other"))

    def said(trial: WorkerProcess, step: RunStep) -> str:
        trial.send(Rehearse(step, 5_000))
        return str(trial.receive(Rehearsed).verdict)

    with WorkerProcess(tmp_path, tmp_path / "err") as trial:
        trial.load("flows.py", trial=True)
        verdicts = [said(trial, run_step(n, "step", name, ops=records)) for n, name in enumerate(["work", "other"] * 3)]
        assert verdicts == ["agrees", "differs"] * 3
        items = [
            Given("Order", "start", "begin", b'{"amount":1}'),
            Given("Order", "start", "begin", b'{"amount":"much"}'),
            Given("Order", "event", "paid", b"{}"),
            Given("Order", "event", "gone", b"{}"),
        ]
        trial.send(Fits(3, items), Ping(4), Stop())
        fitted = trial.receive(Fitted)
        assert trial.receive(Pong).number == 4
        assert trial.wait() == 0
    assert fitted.call == 3
    assert [bool(reason) for reason in fitted.reasons] == [False, True, True, False]
    assert "put the parameters back" in fitted.reasons[1]


async def test_what_was_given_up_before_there_was_an_answer_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    wf, child = Workflow("Order"), Workflow("Child")

    @child.start()
    async def started(ctx: Context) -> Directive:
        return ctx.next.complete()

    @wf.step()
    async def waits(ctx: Context) -> Directive:
        handle, other = await ctx.start("Child", "child-1"), await ctx.start("Child", "child-2")
        given_up = asyncio.ensure_future(handle.result())
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait({asyncio.ensure_future(other.result()), asyncio.ensure_future(on.wait())})
        await handle.result()
        raise AssertionError

    on = asyncio.Event()
    desk = Desk(wf, child)
    assert await desk.finish("step", "waits", crash_after=2) is None
    monkeypatch.setattr(Executor, "_ops_type", RehearsedOps)
    desk.begin("step", "waits", ops=desk.records)
    asked, _ = await desk.next(Op), await desk.next(Op)
    ops = desk.executor._steps[asked.token]
    assert isinstance(ops, RehearsedOps)
    ops.not_yet(asked.op)
    assert (ops.held, ops.asking) == (set(), True)
    ops.not_yet(asked.op + 1)
    assert (ops.held, ops.asking) == ({asked.op + 1}, False)
    # Nobody held it, so it is asked for once more.
    on.set()
    desk.executor.receive(OpDone(asked.token, asked.op + 1, msgspec.json.encode(kid())))
    again = await desk.next(Op)
    assert (again.args, again.op, ops.asking) == (asked.args, asked.op + 2, True)
    desk.executor.close()
