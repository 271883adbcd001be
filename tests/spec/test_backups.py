"""A backup through the daemon: a stream that tells how far it is, and leaves nothing when it is given up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from spec.conftest import Serve
from support.waiting import until
from wfctl import Context, Directive, Workflow
from wfctl.errors import ConflictError, InvalidArgumentError
from wfctl.protocol.calls import BackedUp, Copied
from wfd.engine.backups import Backup
from wfd.store.inspect import inspect
from wfd.testing import WorkflowEnvironment


def keeps() -> Workflow:
    wf = Workflow("Keeps")

    @wf.start()
    async def begin(ctx: Context, size: int) -> Directive:
        ctx.store.put("much", "x" * size)
        return ctx.next.complete()

    return wf


async def filled(serve: Serve, runs: int = 3, size: int = 10) -> WorkflowEnvironment:
    env = await serve(keeps())
    for number in range(runs):
        await env.client.start("Keeps", workflow_id=f"k-{number}", workflow_input={"size": size})
    await env.settle()
    return env


async def test_it_tells_how_far_it_is_and_what_it_wrote(serve: Serve, tmp_path: Path) -> None:
    env = await filled(serve)
    target = tmp_path / "b.db"
    stream = Backup(env.store.copy(target))
    told = [item async for item in stream]
    size = target.stat().st_size
    assert told[-1] == Copied(copied=size, total=size)
    assert stream.answer == BackedUp(
        path=str(target), bytes=size, runs=3, rev=inspect(target).rev, database_schema=env.store.schema_version
    )
    again = Backup(env.store.copy(target))
    with pytest.raises(ConflictError):
        await anext(aiter(again))


async def test_given_up_in_the_middle_it_leaves_nothing_and_holds_nobody_up(serve: Serve, tmp_path: Path) -> None:
    env = await filled(serve, runs=6, size=900_000)
    stream = Backup(env.store.copy(tmp_path / "b.db"))
    items = aiter(stream)
    first = await anext(items)
    assert 0 < first.copied < first.total
    await items.aclose()  # type: ignore[attr-defined]
    await stream.aclose()
    await until(lambda: not list(tmp_path.glob("*")) and not list(tmp_path.glob(".*")))
    await asyncio.wait_for(env.client.start("Keeps", workflow_id="later", workflow_input={"size": 1}), 5)


async def test_a_path_that_means_another_place_to_the_daemon_is_refused(serve: Serve) -> None:
    env = await filled(serve, runs=1)
    with pytest.raises(InvalidArgumentError, match="must be absolute"):
        await anext(aiter(Backup(env.store.copy(Path("b.db")))))


@pytest.mark.parametrize("name", ["b\0.db", "b" * 256, "b" * 250], ids=["nul", "too long", "too long for its parts"])
async def test_a_path_that_no_file_can_have_is_refused(serve: Serve, tmp_path: Path, name: str) -> None:
    env = await filled(serve, runs=1)
    stream = Backup(env.store.copy(tmp_path / name))
    with pytest.raises(InvalidArgumentError, match=r"no file can be called|its name is too long"):
        assert [item async for item in stream]
    assert list(tmp_path.iterdir()) == []
