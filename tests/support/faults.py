"""A disk that fails when a test says so, under the environment's own engine."""

from __future__ import annotations

import contextlib
import sqlite3
import threading

from support.waiting import a_moment, until
from wfctl import StorageError
from wfd.store.rows import Unit
from wfd.store.writer import Done
from wfd.testing import WorkflowEnvironment


class Disk:
    """`fail(n)`: commits fail from the nth next one on, until `heal`. `hold`: they wait until `let_go`. `lose_answer(kind)`: the
    next that holds a record of that kind gets to the disk, and the engine is told that it has not."""

    def __init__(self, env: WorkflowEnvironment) -> None:
        self._env = env
        self._before_failure: int | None = None
        self._open = threading.Event()
        self._open.set()
        self.held = threading.Event()
        env.store.writer.before_commit = self._before_commit

    def _before_commit(self, number: int) -> None:
        if not self._open.is_set():
            self.held.set()
            assert self._open.wait(30), "nobody let the commit go"
        if self._before_failure is not None:
            self._before_failure -= 1
            if self._before_failure <= 0:
                raise sqlite3.OperationalError("disk I/O error")

    def fail(self, nth: int = 1) -> None:
        self._before_failure = nth

    def hold(self) -> None:
        self.held.clear()
        self._open.clear()

    def let_go(self) -> None:
        self._open.set()

    def lose_answer(self, kind: str) -> None:
        writer = self._env.store.writer
        submit = writer.submit

        def losing(unit: Unit, done: Done) -> None:
            if any(kind in row for row in unit.history):
                writer.submit = submit  # type: ignore[method-assign]
                submit(unit, lambda error: done(error or StorageError("the process that writes the database ended")))
            else:
                submit(unit, done)

        writer.submit = losing  # type: ignore[method-assign]

    def work(self) -> None:
        """Commits succeed from here on."""
        self._before_failure = None
        self.let_go()

    async def heal(self) -> None:
        """Commits succeed again; returns when the engine has noticed the failure and the cure, and goes on."""
        self._before_failure = None
        self.let_go()
        await until(lambda: self._env.engine.failure is not None)
        await until_healthy(self._env)


async def until_healthy(env: WorkflowEnvironment) -> None:
    """Let time pass until the engine has found that its disk works."""
    while True:
        with contextlib.suppress(StorageError):
            await env.settle()
            if env.engine.failure is None:
                return
        env.clock.advance(1_000)
        await a_moment(0.005)


async def evict(env: WorkflowEnvironment) -> None:
    """Empty the memory of idle runs, as many others would."""
    await env.settle()
    memory = env.engine.memory
    for live in list(memory.idle.values()):
        memory._drop(live)
