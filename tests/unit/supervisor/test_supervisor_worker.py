"""A worker's process, seen from the daemon: that it has ended is noticed, whoever still holds what it had open."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from support.waiting import until
from wfctl import __version__
from wfctl.protocol.channel import Load, OpDone, RunStep, StepDone
from wfctl.values.runinfo import RunInfo, encode
from wfd.config import Config
from wfd.runtime.clock import SystemClock
from wfd.supervisor import Catalog, Handler, Heard, StepOrder
from wfd.supervisor.link import CROWD_BYTES, Link
from wfd.supervisor.supervisor import Supervisor
from wfd.supervisor.worker import Worker

LEAVES_A_PROGRAM = """
import os, subprocess
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
os.kill(os.getpid(), 9)
"""


GOES_THROUGH_A_SET = """
print(*{f"text {number}" for number in range(20)}, sep=",", flush=True)
"""


ENDS_AT_ONCE = """
from wfctl import Workflow
flow = Workflow(workflow_type="Flow")

@flow.start()
async def begin(ctx):
    return ctx.next.complete()
"""


def _order(token: int, store: dict[str, bytes]) -> StepOrder:
    run = RunInfo("R", f"f-{token}", "Flow")
    message = RunStep(token, "Flow", encode(run), "start", "begin", b"{}", store, [])
    return StepOrder(token, message, run, Handler("Flow", "begin"))


def _config(folder: Path, module: str) -> Config:
    (folder / "flows.py").write_text(module)
    return Config(
        project=folder, file=folder / "wfctl.toml", state=folder, socket=folder / "s", workers=1, crash_limit=5,
        modules=("flows.py",), path=(folder,), python=Path(sys.executable), reload=False, durability="full", sources={},
    )  # fmt: skip


class Ear:
    """A listener that keeps what handlers say."""

    def __init__(self) -> None:
        self.said: list[Heard] = []

    def heard(self, message: Heard, now: int) -> None:
        self.said.append(message)

    def timed_out(self, token: int, timeout_ms: int) -> None: ...
    def lost(self, tokens: list[int], reason: str, crash: bool) -> None: ...
    def left_line(self, workflow_type: str) -> None: ...
    def catalog_changed(self, catalog: Catalog) -> None: ...


async def test_a_worker_that_comes_while_none_is_heard_says_what_it_offers_and_is_heard_with_the_others(
    tmp_path: Path,
) -> None:
    supervisor, ear = Supervisor(_config(tmp_path, ENDS_AT_ONCE), SystemClock()), Ear()
    supervisor.listen(ear)
    await supervisor.start()
    try:
        (first,) = supervisor._workers
        supervisor.hear(False)
        assert not first.heard
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: any(one is not first and one.ready for one in supervisor._workers))
        (second,) = supervisor._workers
        assert second._link is not None
        assert (second.heard, second._link._hears) == (False, False)
        supervisor.run(_order(1, {}))
        assert second.steps == {1}
        supervisor.hear(True)
        await until(lambda: ear.said)
        assert isinstance(ear.said[0], StepDone)
    finally:
        await supervisor.stop()


async def test_a_worker_that_does_not_read_what_it_is_told_gets_no_more_steps_until_it_has(tmp_path: Path) -> None:
    supervisor, ear = Supervisor(_config(tmp_path, ENDS_AT_ONCE), SystemClock()), Ear()
    supervisor.listen(ear)
    await supervisor.start()
    (worker,) = supervisor._workers

    def run(token: int, store: dict[str, bytes]) -> None:
        supervisor.run(_order(token, store))

    try:
        os.kill(worker.pid, signal.SIGSTOP)
        run(1, {"large": bytes(2 * CROWD_BYTES)})
        await until(lambda: worker.full)
        run(2, {})
        assert worker.steps == {1}
        os.kill(worker.pid, signal.SIGCONT)
        await until(lambda: {one.token for one in ear.said} == {1, 2})
    finally:
        await supervisor.stop()


async def test_a_worker_is_full_as_long_as_it_has_not_read_so_much_of_what_it_was_told() -> None:
    loop, crowded = asyncio.get_running_loop(), list[bool]()
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    _, link = await loop.create_unix_connection(lambda: Link(lambda _: None, lambda _: None, crowded.append), sock=ours)
    with theirs:
        link.send(OpDone(1, 1, bytes(CROWD_BYTES // 2)))
        await until(lambda: link.unsent_bytes)
        assert crowded == []
        link.send(OpDone(1, 2, bytes(2 * CROWD_BYTES)))
        await until(lambda: link.unsent_bytes > CROWD_BYTES)
        assert crowded == [True]
        while link.unsent_bytes:
            await loop.sock_recv(theirs, CROWD_BYTES)
            assert crowded == [True] or link.unsent_bytes <= CROWD_BYTES
        await until(lambda: crowded == [True, False])
    link.close()


async def test_the_end_of_a_worker_is_noticed_while_a_program_it_started_goes_on(tmp_path: Path) -> None:
    config = _config(tmp_path, LEAVES_A_PROGRAM)
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


@pytest.mark.parametrize("given", [None, "7", ""])
async def test_all_workers_go_through_a_set_of_texts_in_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    if given is None:
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    else:
        monkeypatch.setenv("PYTHONHASHSEED", given)
    config = _config(tmp_path, GOES_THROUGH_A_SET)
    printed = []
    for _ in range(3):
        worker = Worker(config, lambda *_: None, lambda *_: None)
        await worker.start()
        worker.load(Load(str(tmp_path), ["flows.py"], [str(tmp_path)], 1))
        await until(lambda worker=worker: worker.last_words)  # type: ignore[misc]
        worker.kill("the test is over")
        await worker.gone()
        printed.append(worker.last_words[0])
    plain = subprocess.run(
        [sys.executable, str(tmp_path / "flows.py")],
        env={"PYTHONHASHSEED": given or "0"},
        capture_output=True,
        check=True,
    )
    assert printed == [plain.stdout.decode().strip()] * 3


TOO_OLD = """#!/bin/sh
[ "$1" = -P ] && { printf 'Unknown option: -P\\nusage: python [option] ...\\n' >&2; exit 2; }
echo 3.10.13
"""


async def test_an_interpreter_that_is_too_old_is_named_with_its_version_and_what_is_needed(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(TOO_OLD)
    python.chmod(0o755)
    config = msgspec.structs.replace(_config(tmp_path, ENDS_AT_ONCE), python=python)
    supervisor = Supervisor(config, SystemClock())
    supervisor.listen(Ear())
    await supervisor.start()
    try:
        (problem,) = supervisor.catalog.problems
        assert problem.message == f"{python} is Python 3.10.13; wfctl needs 3.11 or later"
        assert problem.hint == "name Python 3.11 or later, with wfctl installed, as [workflows] python in wfctl.toml"
    finally:
        await supervisor.stop()


async def test_a_worker_of_another_version_than_the_daemon_is_told_with_the_remedy(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" --channel 0\n')
    python.chmod(0o755)
    config = msgspec.structs.replace(_config(tmp_path, ENDS_AT_ONCE), python=python)
    workers = Supervisor(config, SystemClock())
    workers.listen(Ear())
    await workers.start()
    (problem,) = workers.catalog.problems
    assert "is installed here, and the daemon is of a version that it does not understand" in problem.message
    assert problem.hint == f"wfctl down && wfctl up, or {python} -m pip install wfctl=={__version__}"
    await workers.stop()
