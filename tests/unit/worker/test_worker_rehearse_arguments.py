"""What converting the recorded arguments does in a trial is kept from the world as well, and judged."""

from __future__ import annotations

from pathlib import Path

from support.worker_process import WorkerProcess, run_step
from wfctl.protocol.channel import Rehearse, Rehearsed

FLOWS = """
from dataclasses import dataclass
from pathlib import Path
from wfctl import Context, Directive, Workflow

wf = Workflow("Order")

@dataclass
class Item:
    sku: str

    def __post_init__(self) -> None:
        if self.sku == "exits":
            raise SystemExit(1)
        Path("touched").write_text(self.sku)

@wf.start()
async def begin(ctx: Context, item: Item) -> Directive:
    return ctx.next.complete()
"""


def test_arguments_whose_conversion_touches_the_world_or_exits_are_judged_as_such(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    with WorkerProcess(tmp_path, tmp_path / "err") as trial:
        trial.load("flows.py", trial=True)
        trial.send(Rehearse(run_step(1, "start", "begin", {"item": {"sku": "touches"}}), 5_000))
        stopped = trial.receive(Rehearsed)
        trial.send(Rehearse(run_step(2, "start", "begin", {"item": {"sku": "exits"}}), 5_000))
        differs = trial.receive(Rehearsed)
    assert (stopped.verdict, stopped.clean) == ("stopped", True)
    assert "where it would write to" in stopped.reason
    assert (differs.verdict, differs.clean) == ("differs", True)
    assert "SystemExit: 1" in differs.reason
    assert not (tmp_path / "touched").exists()
