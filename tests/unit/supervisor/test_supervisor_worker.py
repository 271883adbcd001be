"""A worker's process, seen from the daemon: that it has ended is noticed, whoever still holds what it had open."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from wfctl.protocol.channel import Load
from wfd.config import Config
from wfd.supervisor.worker import Worker

LEAVES_A_PROGRAM = """
import os, subprocess
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
os.kill(os.getpid(), 9)
"""


async def test_the_end_of_a_worker_is_noticed_while_a_program_it_started_goes_on(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(LEAVES_A_PROGRAM)
    config = Config(
        project=tmp_path, file=tmp_path / "wfctl.toml", state=tmp_path, socket=tmp_path / "s", workers=1, crash_limit=5,
        modules=("flows.py",), path=(tmp_path,), python=Path(sys.executable), reload=False, durability="full", sources={},
    )  # fmt: skip
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    worker = Worker(config, lambda *_: None, lambda _, why: ended.set_result(why))
    await worker.start()
    worker.load(Load(str(tmp_path), ["flows.py"], [str(tmp_path)], 1))
    try:
        assert await asyncio.wait_for(ended, 30) == "signal SIGKILL"
        await worker.gone()
    finally:
        worker.kill("the test is over")
        os.kill(int(worker.last_words[0]), signal.SIGKILL)
