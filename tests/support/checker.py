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
from support.rows import miscounted

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
        found += [f"{tuple(what)} is counted, or is there, and not both" for what in miscounted(db)]
    by_id = {run["run_id"]: history[key] for key, run in runs.items()}
    for key, run in runs.items():
        found += _run(run, history[key], store[key], inbox[key])
        found += _ends(run, history[key], by_id)
    found += _families(runs, history)
    return found


def _ends(
    run: sqlite3.Row, history: list[tuple[int, str, Any]], histories: dict[str, list[tuple[int, str, Any]]]
) -> list[str]:
    """What a handler heard of the end of a child had come to its run before, and a child that it ended has ended so."""
    found = []
    told: dict[str, str] = {}
    for seq, kind, data in history:
        if kind == "child.closed":
            told[data["run_id"]] = data["status"]
        elif kind == "child.result_recorded" and told.get(data["run_id"]) != data["status"]:
            found.append(f"{run['workflow_id']}: heard at {seq} that a child {data['status']}, which it had not")
        elif kind in ("child.cancel_requested", "child.terminated") and "closed" not in data:
            done = f"run.{kind.removeprefix('child.')}"
            if not any(of_child == done for _, of_child, _ in histories[data["run_id"]]):
                found.append(f"{run['workflow_id']}: has {kind} at {seq}, its child no {done}")
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
    reopened = len(_reopenings(history))
    if len(ends) != reopened + (run["status"] in CLOSED) or (
        run["status"] in CLOSED and ends[-1] != f"run.{run['status']}"
    ):
        found.append(f"{name}: is {run['status']}, ended with {ends} and was re-opened {reopened} times")
    found += _steps(name, history, store)
    found += _inbox(name, history, inbox)
    return found + _operations(name, history)


def _reopenings(history: list[tuple[int, str, Any]]) -> list[Any]:
    return [data for _, kind, data in history if kind == "run.resumed" and data.get("was") in ("failed", "timed_out")]


def _steps(name: str, history: list[tuple[int, str, Any]], store: dict[str, Any]) -> list[str]:
    """Each step has one directive, unless it failed and was begun again; and began, each time, with the same store."""
    found = []
    folded: dict[str, Any] = {}
    at_begin: dict[int, dict[str, Any]] = {}
    done: set[int] = set()
    for seq, kind, data in history:
        if kind == "step.started":
            at_begin[data["step"]] = dict(folded)
        elif kind in ("step.completed", "run.resumed"):
            for gone in data.get("deleted", []):
                folded.pop(gone, None)
            folded.update(data.get("put", {}))
        if kind == "step.completed":
            if data["step"] in done:
                found.append(f"{name}: step {data['step']} committed two directives")
            done.add(data["step"])
        elif kind == "run.resumed" and "step" in data.get("phase", {}):
            step = data["phase"]["step"]
            done.discard(step)
            if folded != at_begin[data.get("from_step", step)]:
                found.append(f"{name}: went on at {seq} with the store {folded}, the step began with another")
            at_begin[step] = dict(folded)
    if folded != store:
        found.append(f"{name}: its store is {store}, its history says {folded}")
    return found


def _inbox(name: str, history: list[tuple[int, str, Any]], inbox: list[int]) -> list[str]:
    """What came was handed over once, or stands in the inbox; what is put back there was handed over, or missed, before."""
    found = []
    received: set[int] = set()
    missed: set[int] = set()
    handed: dict[int, int] = {}
    for seq, kind, data in history:
        event = kind == "event.received" or (kind == "child.closed" and data.get("step"))
        if event:
            (missed if data.get("refused") else received).add(seq)
        elif kind == "step.started" and data.get("event"):
            if data["event"] in handed or data["event"] not in received:
                found.append(f"{name}: event {data['event']} is handed over at {seq}, which cannot be")
            handed[data["event"]] = data["step"]
        elif kind == "run.resumed":
            target = data.get("from_step")
            back = {event for event, step in handed.items() if target is not None and step > target}
            again = {event["seq"] for event in data.get("requeued", [])}
            if not back <= again or not again - back <= missed:
                found.append(f"{name}: at {seq} the events {sorted(again)} come back, {sorted(back)} had to")
            received |= again
            missed -= again
            for gone in again:
                handed.pop(gone, None)
            if target is not None and "event" in data["phase"]:
                handed[data["phase"]["event"]] = data["phase"]["step"]
    if sorted([*handed, *inbox]) != sorted(received):
        found.append(f"{name}: received events {sorted(received)}, handed over {sorted(handed)}, kept {inbox}")
    return found


def _operations(name: str, history: list[tuple[int, str, Any]]) -> list[str]:
    """An outcome is recorded once in a step; only what failed may be done again when the run was re-opened."""
    found = []
    outcomes: dict[str, bool] = {}
    for _, kind, data in history:
        if kind == "step.started" or (kind == "run.resumed" and "from_step" in data):
            outcomes.clear()
        elif kind == "run.resumed" and "phase" in data:
            outcomes = {key: good for key, good in outcomes.items() if good and not key.startswith("~")}
        # A task has records of its attempts as well; of an outcome, like the others, one.
        elif "key" in data and kind not in ("task.started", "task.attempt_failed"):
            if data["key"] in outcomes:
                found.append(f"{name}: operation {data['key']} is recorded twice in one step")
            ended_otherwise = kind == "child.result_recorded" and data["status"] != "completed"
            outcomes[data["key"]] = kind not in ("task.failed", "operation.refused") and not ended_otherwise
    return found


def _families(runs: dict[int, sqlite3.Row], history: dict[int, list[tuple[int, str, Any]]]) -> list[str]:
    """Each child is in its parent's history once, and once more each time it has closed or was re-opened."""
    found = []
    by_id = {run["run_id"]: run for run in runs.values()}
    for key, run in runs.items():
        begun = Counter(
            data["run_id"] for _, kind, data in history[key] if kind == "child.started" and not data.get("existing")
        )
        closed = Counter(data["run_id"] for _, kind, data in history[key] if kind == "child.closed")
        resumed = Counter(data["run_id"] for _, kind, data in history[key] if kind == "child.resumed")
        for child in set(begun) | set(closed):
            row = by_id.get(child)
            if row is None or row["parent"] != key:
                found.append(f"{run['workflow_id']}: has the child {child}, which is not there")
                continue
            ends = sum(kind in ENDS for _, kind, _ in history[row["key"]])
            told = begun[child], closed[child], resumed[child]
            if told != (1, ends, len(_reopenings(history[row["key"]]))):
                found.append(
                    f"{run['workflow_id']}: child {row['workflow_id']} ({row['status']}, ended {ends} times) was started {told[0]} "
                    f"times, closed {told[1]} times and resumed {told[2]} times"
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
    retried: int = 0


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
            most = 1 + task.retried
            found += [f"{name}: process {pid} did attempt {one} twice" for (pid, one), n in times.items() if n > most]
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
        elif kind == "run.resumed" and "from_step" in data:
            step, begun, of_step = data["phase"]["step"], 1, []
        elif kind in ("step.interrupted", "run.resumed"):
            begun += 1
            if "phase" in data:
                for task in of_step:
                    if task.outcome != "completed":
                        task.outcome, task.retried = "", task.retried + 1
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
