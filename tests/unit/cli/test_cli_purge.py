"""`wfctl purge`: nothing goes before somebody has said so, and what went is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon
from wfctl.protocol.calls import Purge, Purged, PurgedSoFar, PurgedTree
from wfctl.values.status import Status

Start = Callable[..., FakeDaemon]


def tree(number: int) -> PurgedTree:
    return PurgedTree(
        run_id=f"01R{number}", workflow_id=f"order-{number}", workflow_type="Order", status=Status.COMPLETED,
        started_at=NOW - 90_000, closed_at=NOW - 60_000, runs=2,
    )  # fmt: skip


def answering(count: int, **changes: Any) -> Callable[[Purge], Iterator[PurgedSoFar]]:
    def answer(call: Purge) -> Any:
        for number in range(0, count, 4):
            trees = [tree(one) for one in range(number, min(number + 4, count))] if call.each else []
            yield PurgedSoFar(done=min(number + 4, count), total=count, runs=2 * min(number + 4, count), trees=trees)
        freed = 0 if call.dry_run else 3 << 20
        facts = {
            "trees": count, "runs": 2 * count, "more": 0, "held": 0, "freed_bytes": freed, "returned_bytes": freed,
            "database_bytes": 1 << 20, "shrinks": True, "dry_run": call.dry_run,
        }  # fmt: skip
        return Purged(**{**facts, **changes})

    return answer


def test_it_needs_a_status_or_an_age(cli: Cli, daemon: Start) -> None:
    fake = daemon(purge=answering(1))
    said = cli("purge", "--type", "Order", "--yes")
    assert (said.code, fake.asked("purge")) == (2, [])
    assert said.err == ("error[usage]: purge needs a status or an age\n  try: wfctl purge --older-than 30d --dry-run\n")


def test_off_a_terminal_it_must_be_confirmed_beforehand(cli: Cli, daemon: Start) -> None:
    fake = daemon(purge=answering(12))
    said = cli("purge", "--older-than", "30d", "-o", "id")
    assert (said.code, said.out) == (2, "")
    assert [call.dry_run for call in fake.asked("purge")] == [True]
    assert "purging 24 runs in 12 trees (order-0, order-1, " in said.err
    assert "order-9 and 2 more) needs to be confirmed" in said.err


def test_where_nothing_would_go_there_is_nothing_to_confirm(cli: Cli, daemon: Start) -> None:
    daemon(purge=answering(0, held=3))
    said = cli("purge", "--status", "failed")
    assert said.code == 0
    assert said.err == (
        "0 runs would be purged\n3 trees whose roots match stay: in each a run is open, or does not match\n"
    )


def test_on_a_terminal_it_is_a_dry_run_until_yes_is_added(cli: Cli, daemon: Start) -> None:
    fake = daemon(purge=answering(12))
    said = cli("--color", "never", "purge", "--older-than", "30d", tty=True, keyboard=True)
    assert (said.code, [call.dry_run for call in fake.asked("purge")]) == (0, [True])
    assert said.out.splitlines()[0].split() == ["WORKFLOW", "ID", "TYPE", "STATUS", "CLOSED", "RUNS", "RUN", "ID"]
    assert len(said.out.splitlines()) == 11
    assert "looking [####################] 100%  12 of 12 trees, 24 runs" in said.err
    assert said.err.endswith("nothing was purged; add --yes to purge them\n")
    narrow = cli("--color", "never", "purge", "--older-than", "30d", tty=True, keyboard=True, columns=40)
    bars = [text for text in narrow.err.split("\r") if text.startswith("looking")]
    assert bars, "there is a bar where it would not fit"
    assert max(map(len, bars)) < 40, "on a line that the terminal wraps, the way back would lead to its second half"


def test_what_went_is_told_with_the_room_it_made(cli: Cli, daemon: Start) -> None:
    fake = daemon(purge=answering(12, more=5))
    said = cli("purge", "--older-than", "2026-10-01T00:00:00Z", "--status", "completed", "--limit", "12", "--yes")
    assert (said.code, said.out) == (0, "")
    assert said.err == (
        "purged 24 runs in 12 trees; 3.0 MiB freed; the database is smaller by 3.0 MiB and has 1.0 MiB\n"
        "5 more trees would match; --limit leaves them\n"
    )
    assert cli("purge", "--type", "Order", "--type", "Cart", "--status", "failed", "--dry-run").code == 0
    assert fake.asked("purge")[1].types == ["Order", "Cart"]
    call = fake.asked("purge")[0]
    assert (call.statuses, call.limit, call.dry_run, call.closed_until_at) == (
        [Status.COMPLETED],
        12,
        False,
        1_790_812_800_000,
    )
    daemon_says = answering(1, returned_bytes=0, shrinks=False)
    fake.answers["purge"] = daemon_says
    assert "this database was made so that it does not shrink" in cli("purge", "--status", "failed", "--yes").err


@pytest.mark.parametrize("dry", ["--dry-run", "--yes"])
def test_every_tree_is_told_in_ids_and_json(cli: Cli, daemon: Start, dry: str) -> None:
    daemon(purge=answering(12))
    said = cli("purge", "--older-than", "30d", dry, "-o", "id")
    assert said.out.splitlines() == [f"01R{number}" for number in range(12)]
    lines: Any = cli("purge", "--older-than", "30d", dry, "-o", "jsonl").lines
    assert [line["workflow_id"] for line in lines] == [f"order-{number}" for number in range(12)]
    assert lines[0]["closed_at"] == "2026-11-23T02:59:00.000Z"
    document: Any = cli("purge", "--older-than", "30d", dry, "-o", "json").json
    assert (document["schema"], document["trees"], document["dry_run"]) == ("wfctl.purge/1", 12, dry == "--dry-run")
    assert (len(document["items"]), document["next"], document["total"]) == (12, None, 12)


def test_a_dry_run_and_yes_contradict_each_other(cli: Cli, daemon: Start) -> None:
    daemon(purge=answering(1))
    assert cli("purge", "--older-than", "30d", "--dry-run", "--yes").code == 2
