"""Writes the small database of the present schema that is kept under tests/data for ever:

    python -m support.old_databases        (from tests/)

To be run once for each new schema version, with the release that brings it; existing files are never written again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.rows import Ledger, commit
from wfd.store.connect import SCHEMA_VERSION
from wfd.store.rows import ScheduleRow, Unit
from wfd.store.store import open_store

SCHEDULE = (
    '{"id":"nightly","spec":{"workflow_type":"Order","timetable":{"cron":"0 9 * * mon-fri","tz":"Europe/Paris"},'
    '"input":{"amount":12.5}},"created_at":1700000000000,"changed_at":1700000000000,"after":1700000000000}'
)
DATA = Path(__file__).parents[1] / "data"


def file_of(version: int) -> Path:
    return DATA / f"schema_v{version}.db"


async def write(path: Path) -> None:
    """One run of every status, a family, events that wait, store values, log lines, odd characters."""
    store = await open_store(path)
    ledger = Ledger()
    units = [
        ledger.start("running-1", attempt=2),
        ledger.start("waiting-1"),
        ledger.wait(2, ["paid", "refused"], wake_at=ledger.now + 86_400_000),
        ledger.event(2, "other", {"amount": 12.5, "note": "größer ☃ 😀"}),
        ledger.start("sleeping-1", status="sleeping", wake_at=ledger.now + 3_600_000),
        ledger.start("cancelling-1", status="cancelling", reason="no longer needed"),
        ledger.start("stuck-1", status="stuck", reason="workflow type 'Order' has no step 'pay'"),
    ]
    for status in ("completed", "failed", "cancelled", "terminated", "timed_out"):
        units.append(ledger.start(f"{status}-1"))
        key = len(ledger.runs)
        units.append(ledger.change(key, ("timestamp.recorded", {"key": "now#1", "value": 1}), store={"order id": key}))
        error = ("CardDeclined", "limit exceeded") if status in ("failed", "timed_out") else None
        units.append(ledger.close(key, status, error=error))
    units.append(ledger.start("parent-1"))
    parent = len(ledger.runs)
    units += [ledger.start(f"child-{number}", "Payment", parent=parent) for number in range(3)]
    units.append(ledger.close(parent + 1))
    units.append(ledger.log(parent, 'charged "4242"\n\tin two lines', "WARNING"))
    row = ScheduleRow("nightly", 1, "Order", False, ledger.now + 60_000, SCHEDULE)
    units.append(Unit(schedules={"nightly": (row, 0)}))
    units += [ledger.start("completed-1"), ledger.close(parent + 4)]
    await commit(store.writer, *units)
    await store.stop()


def main() -> None:
    path = file_of(SCHEMA_VERSION)
    if path.exists():
        raise SystemExit(f"{path} is there already and must stay as it is")
    asyncio.run(write(path))
    print(path)


if __name__ == "__main__":
    main()
