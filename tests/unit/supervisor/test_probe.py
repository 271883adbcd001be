"""The process that a check loads code in: what it says of it, and that it is gone afterwards whatever it was doing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.project import alive
from support.waiting import until
from support.worker_process import run_step
from wfctl.protocol.channel import Given, Op, OpRecord, Problem
from wfd.config import Config
from wfd.supervisor import probe as module
from wfd.supervisor.probe import Probe, ProbeEnded

FLOWS = """
import asyncio, os, time
from datetime import timedelta
from wfctl import Context, Directive, Workflow

wf = Workflow("Order")

@wf.start()
async def begin(ctx: Context, amount: float) -> Directive:
    await ctx.sleep(timedelta(hours=1))
    await ctx.now()
    return ctx.next.complete()

@wf.step()
async def blocks(ctx: Context) -> Directive:
    while True:
        time.sleep(0.1)

@wf.step()
async def exits(ctx: Context) -> Directive:
    print("last words")
    os._exit(4)

@wf.step()
async def stays(ctx: Context) -> Directive:
    while True:
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            pass
"""
NOW = OpRecord("now::e3b0c44298fc1c14:0", b"1700000000000")


def config(folder: Path, **changes: Any) -> Config:
    facts: dict[str, Any] = {
        "project": folder, "file": folder / "wfctl.toml", "state": folder, "socket": folder / "s", "workers": 1,
        "crash_limit": 5, "durability": "full",
        "modules": ("flows.py",), "path": (folder,), "python": Path(sys.executable), "reload": False,
        "sources": {},
    }  # fmt: skip
    return Config(**{**facts, **changes})


@asynccontextmanager
async def probing(
    folder: Path, text: str = FLOWS, modules: Sequence[str] = ("flows.py",), **options: Any
) -> AsyncIterator[Probe]:
    (folder / "flows.py").write_text(text)
    probe = Probe(config(folder), modules, [folder], **options)
    try:
        yield probe
    finally:
        await probe.close()


async def nothing(op: Op) -> bytes | None:
    return None


async def test_it_tells_what_the_code_offers_and_whether_arguments_fit(tmp_path: Path) -> None:
    async with probing(tmp_path) as probe:
        loaded = await probe.start()
        assert [spec.workflow_type for spec in loaded.types] == ["Order"]
        items = [Given("Order", "start", "begin", data) for data in (b'{"amount":1}', b"{}")]
        fits, misses = await probe.misfits(items)
        assert (fits, bool(misses)) == ("", True)


async def test_what_a_rehearsal_asks_is_answered_by_who_rehearses(tmp_path: Path) -> None:
    kwargs = {"amount": 1}
    asked: list[str] = []

    async def over(op: Op) -> bytes:
        asked.append(op.kind)
        return b"null"

    async with probing(tmp_path) as probe:
        await probe.start()
        first = await probe.rehearse(run_step(1, "start", "begin", kwargs, ops=[NOW]), nothing)
        assert first.verdict == "differs"
        # The key of a sleep is made from its arguments, and told where it is not recorded.
        key = first.reason.partition("asked for instead: ctx.sleep() [")[2][:16]
        sleep = OpRecord(f"sleep::{key}:0", b"null", open=True)
        agrees = await probe.rehearse(run_step(2, "start", "begin", kwargs, ops=[sleep, NOW]), over)
        assert (agrees.verdict, asked) == ("agrees", ["resume"])


async def test_an_import_that_never_ends_is_given_up_and_the_others_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import time\nwhile True: time.sleep(1)")
    async with probing(tmp_path, modules=["bad.py", "flows.py"], load_s=3) as probe:
        loaded = await probe.start()
    assert [spec.workflow_type for spec in loaded.types] == ["Order"]
    assert [(one.module, one.file, one.message) for one in loaded.problems] == [
        ("bad.py", "bad.py", "has not been imported after 3 s")
    ]


async def test_an_import_that_ends_the_process_is_told_with_its_last_words_and_the_others_are_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.py").write_text("import os\nprint('bye')\nos._exit(3)")
    given_up: dict[str, Problem] = {}
    async with probing(tmp_path, modules=["bad.py", "flows.py"], given_up=given_up) as probe:
        loaded = await probe.start()
    assert [spec.workflow_type for spec in loaded.types] == ["Order"]
    (problem,) = loaded.problems
    assert given_up == {"bad.py": problem}
    assert problem.message == "ended the process (exit code 3) while it was imported; it last said: bye"
    assert problem.hint
    async with probing(tmp_path, modules=["bad.py", "flows.py"], given_up=given_up) as probe:
        assert (await probe.start()).problems == [problem]
        assert probe._worker.last_words == []


async def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    probe = Probe(config(tmp_path, python=tmp_path / "python"), ["flows.py"], [tmp_path])
    with pytest.raises(ProbeEnded, match=r"cannot start .*python: No such file or directory"):
        await probe.start()
    await probe.close()


async def test_a_handler_that_ends_its_process_ends_the_rehearsal_and_all_after_it(tmp_path: Path) -> None:
    async with probing(tmp_path) as probe:
        await probe.start()
        with pytest.raises(ProbeEnded, match=r"exit code 4 \(last words\)"):
            await probe.rehearse(run_step(1, "step", "exits", ops=[NOW]), nothing)
        with pytest.raises(ProbeEnded, match="exit code 4"):
            await probe.misfits([])


async def test_a_handler_that_blocks_its_loop_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKED_S", 0.3)
    async with probing(tmp_path, rehearsal_ms=200) as probe:
        await probe.start()
        with pytest.raises(ProbeEnded, match=r"did not get there within 0\.5 s, and blocks its event loop"):
            await probe.rehearse(run_step(1, "step", "blocks", ops=[NOW]), nothing)


async def test_a_handler_that_does_not_let_go_is_told(tmp_path: Path) -> None:
    async with probing(tmp_path, rehearsal_ms=100) as probe:
        await probe.start()
        rehearsed = await probe.rehearse(run_step(1, "step", "stays", ops=[NOW]), nothing)
        assert (rehearsed.verdict, rehearsed.clean) == ("waits", False)


@pytest.mark.parametrize("text", [FLOWS, "import time\nwhile True: time.sleep(1)"])
async def test_nothing_is_left_when_it_is_closed(tmp_path: Path, text: str) -> None:
    async with probing(tmp_path, text) as probe:
        starting = asyncio.ensure_future(probe.start())
        await until(lambda: probe._worker.pid)
        pid = probe._worker.pid
        assert alive(pid)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    assert not alive(pid)


async def test_a_probe_that_was_never_started_closes(tmp_path: Path) -> None:
    probe = Probe(config(tmp_path), ["flows.py"], [tmp_path])
    await probe.close()
    assert probe._worker.pid == 0
