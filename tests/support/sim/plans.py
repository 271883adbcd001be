"""What simulated handlers do: for each step of each run a small random plan, drawn once, so that a re-execution replays it."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from wfctl.values.runinfo import RunInfo
from wfctl.values.signature import HandlerSpec, ParamSpec, TypeSpec

TYPES = ("Alpha", "Beta", "Gamma")
EVENTS = ("e1", "e2", "e3")
STEPS = ("s1", "s2")
POOL = ("w0", "w1", "w2", "w3")
MAX_STEPS = 9
MAX_RUNS = 24
_OWN = ("now", "random", "uuid", "sleep", "task", "task", "log", "log")


class Act(msgspec.Struct):
    """One thing that a handler does. `key` is its content key, `outcomes` the attempts of a task, `pause_us` work before it."""

    kind: str
    key: str
    name: str = ""
    args: dict[str, Any] = {}
    outcomes: tuple[bool, ...] = ()
    pause_us: int = 0


class Plan(msgspec.Struct):
    """One step: branches that go on beside each other, what is cleaned up on a cancellation, and how it ends.

    `end` is complete, fail, raise, wait, step or hang. The first `poison` executions take their worker with them.
    Code of a generation before `unfit_until` does not fit the step, which shows at once or, where `unfit_late`, at its end.
    """

    branches: list[list[Act]]
    cleanup: list[Act]
    end: str
    name: str = ""
    names: list[str] | None = None
    after_ms: int | None = None
    on_cancel: str = "raise"
    poison: int = 0
    unfit_until: int = 0
    unfit_late: bool = False
    clings: bool = False
    executions: int = 0


def catalog_types(chance: random.Random) -> dict[str, TypeSpec]:
    """The types of every generation: start, steps, events and a query each, some with a time limit."""
    number, text = ParamSpec("n", "str"), ParamSpec("n", "Note", plain=False)
    types = {}
    for kind in TYPES:

        def handler(role: str, name: str, *params: ParamSpec, limit: int | None = None) -> HandlerSpec:
            return HandlerSpec(role, name, name, params, timeout_ms=limit)

        types[kind] = TypeSpec(
            kind,
            (
                handler("start", "begin", text if kind == "Beta" else number, limit=_limit(chance)),
                handler("step", "s1", limit=_limit(chance)),
                handler("step", "s2", limit=800),
                handler("step", "hear", ParamSpec("outcome", "ChildOutcome", plain=False), limit=_limit(chance)),
                handler("event", "e1", number, limit=_limit(chance)),
                handler("event", "e2", number, limit=1_500),
                handler("event", "e3", text if kind == "Gamma" else number),
                handler("query", "look"),
            ),
            file=f"{kind}.py",
        )
    return types


def _limit(chance: random.Random) -> int | None:
    return chance.choice((None, None, 600, 3_000))


class Planner:
    """`plan` of a step is drawn when it is first asked for. `calm`: nothing new is begun, steps come to their end."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._plans: dict[tuple[str, int], Plan] = {}
        self.types = catalog_types(chance)
        self.generation = 1
        self.runs = 0
        self.calm = False
        # How eventful this seed is.
        self._width = chance.choice((0.2, 0.6, 1.0))
        self._families = chance.choice((0.1, 0.3, 0.5))
        self._trouble = chance.choice((0.0, 0.03, 0.12))

    def plan(self, run: RunInfo, step: int, kind: str, handler: str) -> Plan:
        plan = self._plans.get((run.id, step))
        if plan is None:
            self.runs += step == 1
            plan = self._plans[run.id, step] = self._draw(run, step, kind, handler)
        return plan

    def _draw(self, run: RunInfo, step: int, kind: str, handler: str) -> Plan:
        chance = self._chance
        limited = self.types[run.workflow_type].handler(kind, handler)
        plan = self._ending(step, limited is not None and limited.timeout_ms is not None)
        if not self.calm:
            while len(plan.branches) < 3 and chance.random() < self._width * 0.7:
                plan.branches.append(self._branch(run, step, len(plan.branches)))
            if chance.random() < 0.5:
                plan.cleanup = [
                    self._own(f"~{step}.{n}", chance.choice(("now", "random"))) for n in range(chance.randrange(3))
                ]
            plan.on_cancel = chance.choice(("raise", "raise", "raise", "return", "ignore"))
            if chance.random() < self._trouble:
                plan.poison = chance.choice((1, 1, 2, 3, 99))
            if chance.random() < self._trouble:
                plan.unfit_until = self.generation + 1
                plan.unfit_late = chance.random() < 0.7
            plan.clings = chance.random() < self._trouble
        # Lines are counted to be left out of a replay, which needs their order.
        if len(plan.branches) > 1:
            plan.branches = [[act for act in acts if act.kind != "log"] for acts in plan.branches]
        return plan

    def _ending(self, step: int, limited: bool) -> Plan:
        chance = self._chance
        plan = Plan([], [], "complete")
        if step >= MAX_STEPS or chance.random() < 0.12:
            plan.end = chance.choice(("complete", "complete", "fail", "raise"))
        elif limited and not self.calm and chance.random() < self._trouble:
            plan.end = "hang"
        elif chance.random() < 0.65:
            plan.end = "wait"
            plan.names = None if chance.random() < 0.5 else sorted(chance.sample(EVENTS, chance.randint(1, 2)))
            if chance.random() < 0.5:
                plan.after_ms = chance.choice((0, 20, 200, 1_000, 4_000))
                plan.name = chance.choice(("", "s1", "s2"))
        else:
            plan.end = "step"
            plan.name = chance.choice(STEPS)
            plan.after_ms = chance.choice((None, None, 0, 30, 300, 2_000))
        return plan

    def _branch(self, run: RunInfo, step: int, branch: int) -> list[Act]:
        chance = self._chance
        acts: list[Act] = []
        for n in range(chance.randint(1, 3)):
            key = f"{step}.{branch}.{n}"
            draw = chance.random()
            if draw < self._families and self.runs < MAX_RUNS and run.workflow_id.count("/") < 3:
                acts.append(self._child(run, key))
                started, more = acts[-1].key, chance.random()
                if 0.1 < more < 0.25:
                    ends = "child_cancel" if more < 0.18 else "child_terminate"
                    acts.append(Act(ends, f"{ends}:{key}", started, {"reason": f"{run.id}:{key}"}))
                if more < 0.15:
                    acts.append(Act("child_result", f"result:{key}", started))
            elif draw < self._families + 0.25:
                acts.append(self._event(run, key))
            else:
                acts.append(self._own(key, chance.choice(_OWN)))
        return acts

    def _own(self, key: str, kind: str) -> Act:
        chance = self._chance
        act = Act(kind, f"{kind}:{key}", pause_us=chance.choice((0, 0, 500, 20_000, 150_000)))
        if key.startswith("~"):
            act.key = f"~{kind}:{key[1:]}"
        if kind == "sleep":
            act.args = {"duration_ms": chance.choice((0, 1, 40, 400))}
        elif kind == "task":
            act.name = "charge"
            failures = chance.choice((0, 0, 0, 1, 2, 3))
            act.outcomes = (*[False] * failures, chance.random() < 0.8)
            act.args = {"delay_ms": chance.choice((0, 5, 150)), "work_us": chance.choice((0, 1_000, 60_000, 250_000))}
        return act

    def _child(self, run: RunInfo, key: str) -> Act:
        chance = self._chance
        own = f"{run.workflow_id}/{chance.randrange(3)}"
        return Act(
            "child",
            f"child:{key}",
            chance.choice(TYPES),
            {
                "workflow_id": own if chance.random() < 0.8 else chance.choice(POOL),
                "input": {"n": f"{run.id}:{key}"},
                "timeout_ms": chance.choice((None, None, 300, 2_500)),
                "on_completed_step": chance.choice((None, "hear", "hear")),
                "on_parent_close": chance.choice(("abandon", "cancel", "terminate")),
            },
        )

    def _event(self, run: RunInfo, key: str) -> Act:
        """To the parent where there is one, or to anybody; the payload tells whose it is."""
        chance = self._chance
        event, payload = chance.choice(EVENTS), f"{run.id}:{key}"
        if run.parent is not None and chance.random() < 0.6:
            return Act("parent_event", f"parent_event:{key}", event, {"payload": {"n": payload}})
        to = chance.choice((*POOL, run.workflow_id, f"{run.workflow_id}/0"))
        return Act("event", f"event:{key}", event, {"workflow_id": to, "payload": {"n": payload}})
