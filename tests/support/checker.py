"""Promises checked from outside: reads only the SQLite file and the log of effects, shares no code with the engine."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.effects import Effect, effects

ENDS = {"run.completed", "run.failed", "run.cancelled", "run.terminated", "run.timed_out"}
CLOSED = {end.removeprefix("run.") for end in ENDS}


def broken_promises(database: Path) -> list[str]:
    """What does not hold in this database, in words; empty where every promise does."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        db.execute("begin")  # one moment of a database that may be in use
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
        # A task has records of its attempts as well; of an outcome, like the others, one.
        if "key" in data and kind not in ("task.started", "task.attempt_failed"):
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


@dataclass
class _Task:
    """One call of a task in one step: how often the step had begun when its outcome was recorded, and what became of it."""

    name: str
    begun: int = 1
    failed: int = 0
    outcome: str = ""


def broken_effects(database: Path, log: Path, *, outlived: bool = False) -> list[str]:
    """What is wrong between the tasks that are recorded and what they did to the world.

    Each completed task has an effect. It has more only where its step was cut short before the task's outcome was recorded, or
    an attempt failed; all have the task's one idempotency key, and no process did the same attempt twice, unless it `outlived`
    the end of its steps, as with a disk that was full.
    """
    tasks = _tasks(database)
    done: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects(log):
        done[effect.key].append(effect)
    found = [
        f"an effect of {several[0].task} ({key}) is of no task" for key, several in done.items() if key not in tasks
    ]
    for key, task in tasks.items():
        several, name = done[key], f"task {task.name} ({key})"
        if task.outcome == "completed" and not several:
            found.append(f"{name} is recorded as completed and has no effect")
        if len(several) > task.begun + task.failed:
            found.append(f"{name} has {len(several)} effects; its step began {task.begun} times without its outcome")
        times = Counter((effect.pid, effect.attempt) for effect in several)
        if not outlived:
            found += [f"{name}: process {pid} did attempt {one} twice" for (pid, one), n in times.items() if n > 1]
    return found


def _tasks(database: Path) -> dict[str, _Task]:
    """Every task that a run has begun, by its idempotency key."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        records = db.execute(
            "select run_id, kind, data from history join runs on runs.key = run order by run, history.seq"
        ).fetchall()
    tasks: dict[str, _Task] = {}
    step, begun = 0, 0
    of_step: list[_Task] = []
    for run_id, kind, text in records:
        data = json.loads(text)
        if kind == "step.started":
            step, begun, of_step = data["step"], 1, []
        elif kind in ("step.interrupted", "run.resumed"):
            begun += 1
            for task in of_step:
                task.begun = task.begun if task.outcome else begun
        elif kind.startswith("task."):
            key = _idempotency_key(run_id, step, data["key"])
            if key not in tasks:
                tasks[key] = _Task(data["name"], begun)
                of_step.append(tasks[key])
            if kind == "task.attempt_failed":
                tasks[key].failed += 1
            elif kind != "task.started":
                tasks[key].outcome = kind.removeprefix("task.")
    return tasks


def _idempotency_key(run_id: str, step: int, key: str) -> str:
    """It follows from the run, the number of the step, and which of its calls the task is, whatever branch made the call."""
    call, mark, branch = key.rpartition("@")
    call = call if mark and branch.isalnum() and call.rpartition(":")[2].isdigit() else key
    return hashlib.sha256(f"{run_id}\n{step}\n{call}".encode()).hexdigest()[:32]


def missing(database: Path, acknowledged: Iterable[tuple[str, str]]) -> list[str]:
    """What was acknowledged and is not there: (workflow ID, "start" or the event that was sent)."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        there = {(workflow_id, "start") for (workflow_id,) in db.execute("select workflow_id from runs")}
        there |= {
            (workflow_id, json.loads(data)["name"])
            for workflow_id, data in db.execute(
                "select workflow_id, data from history join runs on runs.key = run where kind = 'event.received'"
            )
        }
    return [f"{workflow_id}: {what} was acknowledged" for workflow_id, what in sorted({*acknowledged} - there)]


def broken_orders(database: Path, numbers: Iterable[int]) -> list[str]:
    """What is wrong with these orders: each completed with exactly one Payment and its own result."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        runs = {
            (kind, workflow_id): (status, result, times)
            for kind, workflow_id, status, result, times in db.execute(
                "select type, workflow_id, max(status), max(result), count(*) from runs group by 1, 2"
            )
        }
        received = Counter(
            (workflow_id, json.loads(data)["name"])
            for workflow_id, data in db.execute(
                "select workflow_id, data from history join runs on runs.key = run where kind = 'event.received'"
            )
        )
    found = []
    wanted = set()
    for number in numbers:
        for kind in ("Order", "Payment"):
            wanted.add((kind, f"{kind.lower()}-{number}"))
            run = runs.get((kind, f"{kind.lower()}-{number}"))
            if run != ("completed", json.dumps(f"txn-{number}"), 1):
                found.append(f"{kind} {number} is {run}: status, result, how many")
        found += [
            f"order {number} got the event {event} {received[f'order-{number}', event]} times"
            for event in ("start_payment", "payment_completed")
            if received[f"order-{number}", event] != 1
        ]
    found += [f"there is {kind} {name}, which nobody asked for" for kind, name in runs if (kind, name) not in wanted]
    return found
