"""Promises checked from outside: reads only the SQLite file, shares no code with the engine."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ENDS = {"run.completed", "run.failed", "run.cancelled", "run.terminated", "run.timed_out"}
CLOSED = {end.removeprefix("run.") for end in ENDS}


def broken_promises(database: Path) -> list[str]:
    """What does not hold in this database, in words; empty where every promise does."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        found = [f"integrity: {row[0]}" for row in db.execute("pragma integrity_check") if row[0] != "ok"]
        runs = {row["key"]: row for row in db.execute("select * from runs")}
        history: dict[int, list[tuple[int, str, Any]]] = defaultdict(list)
        last_rev = 0
        for row in db.execute("select rev, run, seq, kind, data from history order by rev"):
            if row["rev"] <= last_rev:
                found.append(f"revision {row['rev']} is not after {last_rev}")
            last_rev = row["rev"]
            history[row["run"]].append((row["seq"], row["kind"], json.loads(row["data"])))
        store: dict[int, dict[str, Any]] = defaultdict(dict)
        for row in db.execute("select run, key, value from store"):
            store[row["run"]][row["key"]] = json.loads(row["value"])
        inbox: dict[int, list[int]] = defaultdict(list)
        for row in db.execute("select run, seq from inbox order by seq"):
            inbox[row["run"]].append(row["seq"])
    for key, run in runs.items():
        found += _run(run, history[key], store[key], inbox[key])
    found += _families(runs, history)
    return found


def _run(run: sqlite3.Row, history: list[tuple[int, str, Any]], store: dict[str, Any], inbox: list[int]) -> list[str]:
    name = f"{run['workflow_id']} ({run['run_id']})"
    found = []
    if [seq for seq, _, _ in history] != list(range(1, run["seq"] + 1)):
        found.append(f"{name}: its history has a gap, a double, or does not end at {run['seq']}")
    kinds = Counter(kind for _, kind, _ in history)
    if kinds["run.started"] != 1:
        found.append(f"{name}: started {kinds['run.started']} times")
    ends = [kind for _, kind, _ in history if kind in ENDS]
    if (run["status"] in CLOSED) != (len(ends) == 1) or (ends and ends[0] != f"run.{run['status']}"):
        found.append(f"{name}: is {run['status']} and ended with {ends}")
    completed = Counter(data["step"] for _, kind, data in history if kind == "step.completed")
    found += [f"{name}: step {step} committed {times} directives" for step, times in completed.items() if times > 1]
    folded: dict[str, Any] = {}
    for _, kind, data in history:
        if kind == "step.completed":
            for gone in data.get("deleted", []):
                folded.pop(gone, None)
            folded.update(data.get("put", {}))
    if folded != store:
        found.append(f"{name}: its store is {store}, its history says {folded}")
    received = [
        seq
        for seq, kind, data in history
        if (kind == "event.received" and not data.get("refused")) or (kind == "child.closed" and data.get("step"))
    ]
    handed = [data["event"] for _, kind, data in history if kind == "step.started" and data.get("event")]
    if sorted(handed + inbox) != received:
        found.append(f"{name}: received events {received}, handed over {handed}, kept {inbox}")
    keys: Counter[str] = Counter()
    for _, kind, data in history:
        if kind == "step.started":
            keys.clear()
        if "key" in data:
            keys[data["key"]] += 1
            if keys[data["key"]] > 1:
                found.append(f"{name}: operation {data['key']} is recorded twice in one step")
    return found


def _families(runs: dict[int, sqlite3.Row], history: dict[int, list[tuple[int, str, Any]]]) -> list[str]:
    """Each child is in its parent's history once, and once more when it has closed."""
    found = []
    by_id = {run["run_id"]: run for run in runs.values()}
    for key, run in runs.items():
        begun = Counter(
            data["run_id"] for _, kind, data in history[key] if kind == "child.started" and not data.get("existing")
        )
        closed = Counter(data["run_id"] for _, kind, data in history[key] if kind == "child.closed")
        for child in set(begun) | set(closed):
            row = by_id.get(child)
            if row is None or row["parent"] != key:
                found.append(f"{run['workflow_id']}: has the child {child}, which is not there")
                continue
            if begun[child] != 1 or closed[child] != (row["status"] in CLOSED):
                found.append(
                    f"{run['workflow_id']}: child {row['workflow_id']} ({row['status']}) was started {begun[child]} "
                    f"times and closed {closed[child]} times"
                )
    found += [
        f"{run['workflow_id']}: its parent knows nothing of it"
        for run in runs.values()
        if run["parent"] is not None
        and not any(k == "child.started" and data["run_id"] == run["run_id"] for _, k, data in history[run["parent"]])
    ]
    # Every event a child says it sent stands in its parent's history, in the same order.
    sent: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for key, run in runs.items():
        for _, kind, data in history[key]:
            if kind == "parent_event.sent":
                sent[run["parent"]][run["workflow_id"], data["event"]] += 1
    for parent, events in sent.items():
        got = Counter(
            (data.get("sender"), data["name"]) for _, kind, data in history[parent] if kind == "event.received"
        )
        for event, times in events.items():
            if got[event] < times:
                found.append(
                    f"{runs[parent]['workflow_id']}: event {event} was sent {times} times, received {got[event]}"
                )
    return found
