"""What is given back never begins, what begins is never given back: whoever asks first, and once for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.waiting import wait_until
from support.worker_process import WorkerProcess, run_step
from wfctl.protocol.channel import Ping, Pong, StepDone, StepGone
from wfd.worker.fence import Fence

FLOWS = """
import time
from pathlib import Path
from wfctl import Context, Directive, Workflow

wf = Workflow("Order")

@wf.start()
async def begin(ctx: Context, block: str = "") -> Directive:
    Path("began").open("a").write("x")
    while block and not Path(block).exists():
        time.sleep(0.01)
    return ctx.next.complete()
"""


def test_a_step_begins_here_or_is_given_back_and_that_is_said_once() -> None:
    fence = Fence()
    assert fence.give_back(2)
    assert not fence.give_back(2)
    assert fence.receives() == 1
    assert not fence.give_back(1)  # it is about to be answered
    fence.waits(1)
    assert fence.give_back(1)
    assert not fence.give_back(1)
    assert not fence.begins(1)
    assert fence.receives() == 0
    assert fence.receives() == 3
    fence.waits(3)
    assert fence.begins(3)
    assert not fence.give_back(3)
    assert not fence.give_back(2)


@pytest.mark.parametrize("together", [True, False])
def test_a_blocked_worker_gives_back_what_it_has_not_begun_and_runs_what_comes_again(
    tmp_path: Path, together: bool
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    with WorkerProcess(tmp_path, tmp_path / "err", beside=True) as worker:
        worker.load("flows.py")
        steps = [run_step(7, "start", "begin", {"block": "go"}), run_step(8, "start", "begin")]
        if together:
            worker.send(*steps)
        else:
            worker.send(steps[0])
            wait_until((tmp_path / "began").exists)
            worker.send(steps[1])
        wait_until((tmp_path / "began").exists)
        assert worker.ask_back([(1, 7), (2, 8)]) == [StepGone(8)]
        (tmp_path / "go").touch()
        assert worker.receive(StepDone).token == 7
        worker.send(Ping(1))
        assert isinstance(worker.receive(), Pong)
        assert (tmp_path / "began").read_text() == "x"
        worker.step(8, "start", "begin")
        assert worker.receive(StepDone).token == 8
        assert (tmp_path / "began").read_text() == "xx"
