"""The specification's example with its card charged in a task, and customers who get each order through exactly once."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from support import effects
from support.project import SAMPLES, Project
from support.waiting import until_async
from wfctl import Client, DaemonDownError, StorageError, Workflow, WorkflowAlreadyRunning

TESTS = Path(__file__).parents[1]
HOOKS = (str(TESTS / "support" / "hooks"), str(TESTS))
CHARGE = """@task
async def charge_card(amount: float) -> str:
    happened("charge_card", current_task().idempotency_key, current_task().attempt)
    return f"txn-{amount:g}"
"""
RESULT = "txn-{:g}"


def example() -> str:
    """samples/orders; only what it does to the world is another: a line in the log of effects."""
    text = (SAMPLES / "orders" / "orders.py").read_text()
    text, changed = re.subn(
        r"async def charge_card.*?\n\n\n", lambda _: CHARGE + "\n\n", text, count=1, flags=re.DOTALL
    )
    assert changed == 1
    imported = "from wfctl import Context, Directive, Workflow"
    assert imported in text
    return text.replace(imported, f"from support.effects import happened\n{imported}, current_task, task")


def example_workflows(folder: Path) -> list[Workflow]:
    """The example in this process; its module is put into `folder`."""
    file = folder / "orders.py"
    file.write_text(example())
    # By the name that workers import it under: tasks are known by it. Nothing else here is to find it.
    spec = importlib.util.spec_from_file_location("orders", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [value for value in vars(module).values() if isinstance(value, Workflow)]


def hooks(settings: str = "") -> dict[str, str]:
    """The environment in which the daemon and its workers load support/hooks: `settings` change constants of the daemon."""
    path = os.pathsep.join(filter(None, (*HOOKS, os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "WFCTL_TEST_SETTINGS": settings}


class Shop(Project):
    """A project that serves the example."""

    def __init__(self, folder: Path, *, workers: int = 2, settings: str = "", reload: bool = False) -> None:
        watched = f"reload = {str(reload).lower()}"
        super().__init__(folder, {"orders.py": example()}, daemon=f"workers = {workers}", workflows=watched)
        self.effects = folder / "effects.log"
        self.environment |= hooks(settings) | {effects.LOG: str(self.effects)}

    def sql(self, question: str, *values: object) -> list[tuple[object, ...]]:
        if not self.database.exists():
            return []
        db = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        try:
            return db.execute(question, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            db.close()

    def completed(self) -> int:
        [(count,)] = self.sql("select count(*) from runs where type = 'Order' and status = 'completed'")
        assert isinstance(count, int)
        return count


class Customers:
    """Each `order` returns when its result is there and right.

    A call that was cut off is repeated only where the database has no trace of it. `acknowledged` holds what the daemon has said
    yes to: (workflow ID, "start" or the event), `cut_off` counts the calls that got no answer.
    """

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.acknowledged: list[tuple[str, str]] = []
        self.refusals: list[StorageError] = []
        self.cut_off = 0
        self._client: Client | None = None
        self._trouble = True
        self._one_asks = asyncio.Lock()

    async def all(self, numbers: Iterable[int], lanes: int = 20) -> None:
        waiting = iter(numbers)

        async def lane() -> None:
            for number in waiting:
                await self.order(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(lane())

    async def leave(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None
            self._trouble = True

    async def order(self, number: int) -> None:
        await self.start(number, float(number))
        await self.pay(number)
        await self.result(number, float(number))

    async def start(self, number: int, amount: float) -> None:
        workflow_id, given = f"order-{number}", {"order_id": str(number), "amount": amount}
        await self._surely(
            workflow_id,
            "start",
            lambda client: client.start("Order", workflow_id=workflow_id, workflow_input=given),
        )

    async def pay(self, number: int) -> None:
        workflow_id = f"order-{number}"
        await self._surely(
            workflow_id, "start_payment", lambda client: client.handle(workflow_id).send("start_payment")
        )

    async def result(self, number: int, amount: float) -> None:
        while True:
            try:
                result = await (await self._connected()).handle(f"order-{number}").result()
            except (DaemonDownError, StorageError) as error:
                self._noted(error)
                continue
            assert result == RESULT.format(amount), (number, result)
            return

    async def _surely(self, workflow_id: str, what: str, ask: Callable[[Client], Awaitable[object]]) -> None:
        while True:
            try:
                client = await self._connected()
                # Looked at once a daemon accepts: then the process that wrote for the one before has ended.
                if self._is_there(workflow_id, what):
                    return
                await ask(client)
            except WorkflowAlreadyRunning:
                return
            except (DaemonDownError, StorageError) as error:
                self._noted(error)
            else:
                self.acknowledged.append((workflow_id, what))
                return

    def _noted(self, error: DaemonDownError | StorageError) -> None:
        self._trouble = True
        self.cut_off += 1
        if isinstance(error, StorageError):
            self.refusals.append(error)

    def _is_there(self, workflow_id: str, what: str) -> bool:
        if what == "start":
            return bool(self.shop.sql("select 1 from runs where workflow_id = ?", workflow_id))
        return bool(self.shop.sql(
            "select 1 from runs join history on history.run = runs.key where workflow_id = ? "
            "and kind = 'event.received' and data ->> 'name' = ?", workflow_id, what,
        ))  # fmt: skip

    async def _connected(self) -> Client:
        """A client of a daemon that, as far as is known, answers and has a disk that takes writes."""

        async def well() -> bool:
            try:
                if self._client is None:
                    self._client = await Client.connect(socket=self.shop.socket)
                return (await self._client.status()).storage_error is None
            except DaemonDownError:
                return False

        async with self._one_asks:
            if self._trouble:
                await until_async(well, within_s=60)
                self._trouble = False
        assert self._client is not None
        return self._client
