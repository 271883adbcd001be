"""A test run that is killed leaves no daemon and no worker behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.project import alive
from support.waiting import wait_until

TESTS = Path(__file__).parents[1]
RUN = """
import sys
from pathlib import Path
from support.project import Project

flows = "from wfctl import Workflow\\nwf = Workflow('W')\\n@wf.start()\\nasync def begin(ctx): ..."
served, upped = (Project(Path(sys.argv[1]) / name, {"flows.py": flows}) for name in ("served", "upped"))
served.serve()
upped.up()
print(served.pid(), upped.pid(), *served.workers(), *upped.workers(), flush=True)
sys.stdin.read()
"""


def test_daemons_and_workers_end_with_the_process_whose_tests_started_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        assert len(pids) == 4
        assert all(map(alive, pids))
        run.kill()
    wait_until(lambda: not any(map(alive, pids)))
    assert not any(map(alive, pids))
