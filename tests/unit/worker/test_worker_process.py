"""A real worker process on a real socketpair."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.worker_process import WorkerProcess
from wfctl import __version__
from wfctl.protocol.channel import CancelStep, Check, Checked, Load, Op, OpDone, Ping, Pong, StepDone, StepRaised, Stop
from wfctl.protocol.frames import OTHER_DAEMON, pack

FLOWS = """
import asyncio, atexit, logging, os, signal, subprocess, sys, threading, time
from wfctl import Context, Directive, Workflow

wf = Workflow("Order")
print("imported")
atexit.register(print, "said goodbye")

@wf.start()
async def begin(ctx: Context, amount: float) -> Directive:
    ctx.store.put("amount", amount)
    return ctx.next.step(asks)

@wf.step()
async def asks(ctx: Context) -> Directive:
    at = await ctx.now()
    return ctx.next.complete(at)

@wf.step()
async def surroundings(ctx: Context) -> Directive:
    print("printed by a handler")
    logging.getLogger("mine").info("logged by a handler")
    subprocess.run(["echo", "echoed by a program"])
    return ctx.next.complete({
        "stdin": sys.stdin.read(),
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "loop": type(asyncio.get_running_loop()).__module__,
        "fds": subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True).stdout.count("socket:"),
    })

@wf.step()
async def exits_in_a_task(ctx: Context) -> Directive:
    async def bad():
        raise SystemExit(3)
    await asyncio.gather(bad())

@wf.step()
async def exits_in_a_forgotten_task(ctx: Context) -> Directive:
    async def bad():
        raise SystemExit(3)
    asyncio.create_task(bad())
    await asyncio.sleep(0.01)
    return ctx.next.complete("still here")

@wf.step()
async def leaves_a_mark(ctx: Context) -> Directive:
    try:
        await ctx.now()
    finally:
        open("mark", "w").close()

@wf.step()
async def blocks_the_loop(ctx: Context) -> Directive:
    print("blocking")
    time.sleep(60)

@wf.step()
def blocks_a_thread(ctx) -> Directive:
    ctx.now()
    time.sleep(60)

@wf.step()
async def has_much_to_say(ctx: Context) -> Directive:
    return ctx.next.complete("x" * 1_000_000)

@wf.step()
async def waits(ctx: Context) -> Directive:
    await asyncio.sleep(60)
"""

Make = Callable[[str], WorkerProcess]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[WorkerProcess] = []

    def start(text: str) -> WorkerProcess:
        project = tmp_path / "project"
        (project / "flows").mkdir(parents=True)
        (project / "flows" / "orders.py").write_text(text)
        made.append(WorkerProcess(project, tmp_path / "errors"))
        return made[-1]

    yield start
    for one in made:
        one.__exit__()


@pytest.fixture
def worker(make: Make) -> WorkerProcess:
    process = make(FLOWS)
    loaded = process.load("flows/orders.py", "flows/missing.py")
    assert [spec.workflow_type for spec in loaded.types] == ["Order"]
    assert [(problem.module, problem.message) for problem in loaded.problems] == [("flows/missing.py", "no such file")]
    assert loaded.files == [str(process.project / "flows" / "orders.py")]
    assert len(loaded.source_hash) == 12
    assert loaded.python.startswith("3.")
    return process


def test_a_step_runs_its_operations_are_answered_and_stop_ends_the_process(worker: WorkerProcess) -> None:
    worker.step(1, "start", "begin", {"amount": 5})
    done = worker.receive()
    assert (done.token, done.name, done.put) == (1, "asks", {"amount": b"5.0"})
    worker.step(2, "step", "asks")
    op = worker.receive(Op)
    worker.send(Stop())
    worker.send(OpDone(2, op.op, b"0"))
    assert worker.receive(StepDone).value == b'"1970-01-01T00:00:00Z"'
    with pytest.raises(EOFError):
        worker.receive()
    assert worker.wait() == 0


def test_what_handlers_print_and_log_goes_to_the_workers_stderr_and_stdin_is_empty(worker: WorkerProcess) -> None:
    worker.step(1, "step", "surroundings")
    value = worker.receive(StepDone).value
    assert b'"stdin":"","sigint":true' in value
    assert b'"fds":0' in value, "programs that a handler starts must not hold the channel"
    worker.send(Stop())
    assert worker.wait() == 0
    for text in (
        "imported",
        "printed by a handler",
        "INFO mine: logged by a handler",
        "echoed by a program",
        "said goodbye",
    ):
        assert text in worker.stderr()


@pytest.mark.parametrize("where", ["import", "step"])
def test_a_thread_that_goes_on_does_not_keep_a_worker_that_is_to_end(make: Make, where: str) -> None:
    endless = "threading.Thread(target=threading.Event().wait).start()\n"
    worker = make(
        FLOWS + endless if where == "import" else FLOWS.replace("    at = await", f"    {endless}    at = await")
    )
    worker.load("flows/orders.py")
    worker.step(1, "step", "asks")
    op = worker.receive(Op)
    worker.send(Stop())
    worker.send(OpDone(1, op.op, b"0"))
    assert worker.receive(StepDone).token == 1
    assert worker.wait() == 0


def test_a_thread_gets_to_its_end_where_that_is_near_before_what_is_done_at_exit(make: Make) -> None:
    worker = make(
        FLOWS
        + """
def ends(main=threading.current_thread()):
    main.join()
    print("the thread is done")
threading.Thread(target=ends).start()
"""
    )
    worker.load("flows/orders.py")
    worker.send(Stop())
    assert worker.wait() == 0
    assert worker.stderr().index("the thread is done") < worker.stderr().index("said goodbye")


def test_ctrl_c_is_not_for_the_worker(worker: WorkerProcess) -> None:
    os.kill(worker.process.pid, signal.SIGINT)
    worker.send(Ping(1))
    assert worker.receive(Pong).number == 1


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_task_that_exits_does_not_end_the_worker(make: Make, loop: str) -> None:
    hide = "import sys; sys.modules['uvloop'] = None\n" if loop == "asyncio" else ""
    worker = make(hide + FLOWS)
    worker.load("flows/orders.py")
    worker.step(1, "step", "exits_in_a_task")
    worker.step(2, "step", "exits_in_a_forgotten_task")
    by_token = {message.token: message for message in (worker.receive(), worker.receive())}
    assert isinstance(by_token[1], StepRaised)
    assert by_token[1].failure.type == "SystemExit"
    assert by_token[2].value == b'"still here"'
    worker.step(3, "step", "surroundings")
    assert f'"loop":"{loop}'.encode() in worker.receive(StepDone).value


def test_the_worker_ends_at_once_when_the_daemon_is_gone_and_handlers_get_their_finally(worker: WorkerProcess) -> None:
    worker.step(1, "step", "leaves_a_mark")
    worker.step(2, "step", "blocks_a_thread")
    worker.receive(Op)
    worker.hang_up()
    assert worker.wait() == 0
    assert (worker.project / "mark").exists()


def test_a_blocked_loop_does_not_keep_a_worker_whose_daemon_is_gone(worker: WorkerProcess) -> None:
    worker.send(Ping(1))
    worker.receive(Pong)
    worker.step(1, "step", "blocks_the_loop")
    worker.hang_up()
    assert worker.wait() == 0


def test_a_module_that_hangs_does_not_keep_a_worker_whose_daemon_is_gone(make: Make) -> None:
    worker = make("import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    worker.send(Load(str(worker.project), ["flows/orders.py"], ["."], 1))
    worker.hang_up()
    assert worker.wait() == 0


def test_the_daemon_may_leave_before_it_said_anything(make: Make) -> None:
    worker = make(FLOWS)
    worker.hang_up()
    assert worker.wait() == 0


def test_messages_that_come_with_the_load_are_not_lost(make: Make) -> None:
    worker = make(FLOWS)
    worker.send(
        Load(str(worker.project), ["flows/orders.py"], ["."], 1),
        Check(1, "Order", "start", "begin", b"2", {}),
        Ping(2),
    )
    assert worker.receive(Checked).kwargs == b'{"amount":2}'
    assert worker.receive(Pong).number == 2


def test_frames_are_taken_in_any_pieces(worker: WorkerProcess) -> None:
    for byte in pack(Ping(3)):
        worker.send_bytes(bytes([byte]))
    assert worker.receive(Pong).number == 3


def test_garbage_on_the_channel_ends_the_worker_and_is_said(worker: WorkerProcess) -> None:
    worker.send_bytes(b"\x00\x00\x00\x03abc")
    assert worker.wait() == 0
    assert "not understood" in worker.stderr()


def test_cancellation_reaches_a_handler_in_the_process(worker: WorkerProcess) -> None:
    worker.step(1, "step", "waits")
    worker.send(CancelStep(1))
    assert worker.receive(StepRaised).cancelled


def test_everything_is_written_before_the_worker_stops(worker: WorkerProcess) -> None:
    for token in range(20):
        worker.step(token, "step", "has_much_to_say")
    worker.send(Stop())
    assert [len(worker.receive(StepDone).value) for _ in range(20)] == [1_000_002] * 20
    assert worker.wait() == 0


def test_a_hundred_steps_at_once_are_all_answered(worker: WorkerProcess) -> None:
    for token in range(100):
        worker.step(token, "start", "begin", {"amount": token})
    assert {worker.receive(StepDone).token for _ in range(100)} == set(range(100))


def test_a_worker_that_the_daemon_would_not_understand_says_so_and_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wfd.worker", "--fd", "77", "--channel", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"wfctl {__version__} is installed here, and {OTHER_DAEMON}\n"


def test_a_worker_without_its_channel_says_that_the_daemon_starts_it(tmp_path: Path) -> None:

    done = subprocess.run(
        [sys.executable, "-m", "wfd.worker", "--fd", "77"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "started by the daemon, not by hand" in done.stderr
