"""One execution of a simulated handler: it follows its plan, replays what is recorded, and asks for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from support.sim.plans import Act, Plan
from wfctl.protocol import channel
from wfctl.values.failure import Failure

_encode = msgspec.json.Encoder().encode
FAILURE = Failure("Oops", "it was planned so")
# What a cancelled handler does not wait for.
_WAITS = ("sleep", "resume", "child_result", "task_attempt_failed")
_OF_CHILD = ("child_result", "child_cancel", "child_terminate")
# From the end of a handler to the judgement that it is not what was recorded.
_JUDGED_US = 150_000

Answered = Callable[[channel.OpDone], None]


class Process(Protocol):
    """What an execution needs of the worker that it runs in."""

    generation: int

    def said(self, message: channel.ToDaemon) -> None: ...

    def after(self, delay_us: int, fn: Callable[[], None]) -> None:
        """Later, unless the process is dead by then."""

    def task_runs(self, token: int, key: str) -> None:
        """The function of a task is called."""

    def ended(self, token: int) -> None: ...


class Execution:
    """`number` is unique in the world: what is committed carries it, so that one can tell whose it was."""

    def __init__(self, process: Process, message: channel.RunStep, plan: Plan, number: int) -> None:
        self._process = process
        self._message = message
        self._plan = plan
        self._number = number
        self._token = message.token
        self._known = {op.key: op for op in message.ops}
        self._values: dict[str, bytes] = {}
        self._branches = [list(acts) for acts in plan.branches]
        self._at = [0] * len(self._branches)
        self._going: set[int] = set(range(len(self._branches)))
        self._asked: dict[int, tuple[str, int, Answered, str]] = {}
        self._ops = 0
        size = channel.MARK_BYTES
        self._logged = Counter(message.logged[at : at + size] for at in range(0, len(message.logged), size))
        self._cancelled = False
        self._cleaning = False
        self.over = False

    @property
    def waits_for(self) -> list[tuple[str, str]]:
        """(kind, name) of the operations that are not answered."""
        return [(kind, name) for kind, _, _, name in self._asked.values()]

    # -- what the daemon says ------------------------------------------------------------------

    def begin(self) -> None:
        if self._unfit and not self._plan.unfit_late:
            self._stuck()
            return
        if self._message.cancel:
            self.cancel()
        for branch in range(len(self._plan.branches)):
            self._advance(branch)
        self._finish()

    def cancel(self) -> None:
        if self._cancelled or self._plan.on_cancel == "ignore":
            return
        self._cancelled = True
        for op, (kind, branch, _, _) in list(self._asked.items()):
            if kind in _WAITS:
                del self._asked[op]
                self._going.discard(branch)
        self._finish()

    def abandon(self) -> None:
        if not self._plan.clings:
            self._end(channel.StepGone(self._token))

    def answered(self, message: channel.OpDone) -> None:
        asked = self._asked.pop(message.op, None)
        if asked is not None and not self.over:
            asked[2](message)

    def hurry(self) -> None:
        """Nothing it asks for is answered any more, and it says how it ends all the same."""
        if not self.over:
            self._going.clear()
            self._asked.clear()
            self._finish()

    # -- following the plan --------------------------------------------------------------------

    def _advance(self, branch: int) -> None:
        while not self.over and branch in self._going:
            acts, at = self._branches[branch], self._at[branch]
            if at == len(acts):
                self._going.discard(branch)
                return
            act = acts[at]
            record = self._known.get(act.key)
            if record is not None and not record.open:
                self._values[act.key] = b"" if record.error is not None else record.value
                self._at[branch] += 1
            elif self._cancelled and not act.key.startswith("~"):
                self._going.discard(branch)
                return
            elif act.kind == "log":
                self._log(act)
                self._at[branch] += 1
            elif act.kind in _OF_CHILD and not self._values.get(act.name):
                self._at[branch] += 1  # there is no such child: it was refused
            elif act.pause_us and record is None:
                self._process.after(act.pause_us, partial(self._do, branch, act, record))
                return
            else:
                self._do(branch, act, record)
                return

    def _do(self, branch: int, act: Act, record: channel.OpRecord | None) -> None:
        if self.over or branch not in self._going:
            return
        if self._cancelled and not act.key.startswith("~"):
            self._going.discard(branch)
            self._finish()
            return
        on = partial(self._passed, branch, act)
        if record is not None:
            failed = record.attempts if act.kind == "task" else None
            self._ask(branch, "resume", act, {}, on if failed is None else partial(self._again, branch, act, failed))
        elif act.kind == "task":
            self._attempt(branch, act, 0)
        elif act.kind in _OF_CHILD:
            child = msgspec.json.decode(self._values[act.name])["id"]
            self._ask(branch, act.kind, Act(act.kind, act.key, child), {"run_id": child, **act.args}, on)
        else:
            args = act.args
            if act.kind in ("random", "uuid"):
                args = {"value": self._number}
            self._ask(branch, act.kind, act, args, on)

    def _ask(self, branch: int, kind: str, act: Act, args: dict[str, Any], then: Answered | None) -> None:
        self._ops += 1
        if then is not None:
            self._asked[self._ops] = kind, branch, then, act.name
        self._process.said(channel.Op(self._token, self._ops, act.key, kind, act.name, _encode(args)))

    def _passed(self, branch: int, act: Act, done: channel.OpDone) -> None:
        self._values[act.key] = b"" if done.error is not None else done.value
        self._at[branch] += 1
        self._advance(branch)
        self._finish()

    # -- tasks ---------------------------------------------------------------------------------

    def _again(self, branch: int, act: Act, failed: int, done: channel.OpDone) -> None:
        self._attempt(branch, act, failed)

    def _attempt(self, branch: int, act: Act, failed: int) -> None:
        """Attempt `failed` + 1: it is said to have begun, and its function runs without waiting for the answer."""
        if self._cancelled:
            self._going.discard(branch)
            self._finish()
            return
        begun = {"attempt": failed + 1, "arguments": {"x": 1}}
        if act.outcomes[failed] and not act.args["work_us"] and self._token % 4 == 0:
            self._process.task_runs(self._token, act.key)
            args = {**begun, "attempts": failed + 1, "result": self._number}
            self._ask(branch, "task_at_once", act, args, partial(self._passed, branch, act))
            return
        self._ask(branch, "task", act, begun, None)
        self._process.task_runs(self._token, act.key)
        self._process.after(act.args["work_us"], partial(self._attempted, branch, act, failed))

    def _attempted(self, branch: int, act: Act, failed: int) -> None:
        if self.over or branch not in self._going:
            return
        attempt = failed + 1
        if act.outcomes[failed]:
            args = {"attempts": attempt, "result": self._number}
            self._ask(branch, "task_completed", act, args, partial(self._passed, branch, act))
        elif attempt == len(act.outcomes):
            args = {"attempts": attempt, "failure": FAILURE}
            self._ask(branch, "task_failed", act, args, partial(self._passed, branch, act))
        else:
            args = {"attempt": attempt, "failure": FAILURE, "delay_ms": act.args["delay_ms"]}
            self._ask(branch, "task_attempt_failed", act, args, partial(self._again, branch, act, attempt))

    # -- ending --------------------------------------------------------------------------------

    def _log(self, act: Act) -> None:
        line = channel.LogLine(0, "info", f"{self._message.step}:{act.key}")
        if self._logged[line.mark()]:
            self._logged[line.mark()] -= 1
        else:
            self._process.said(channel.Logs(self._token, [line]))

    def _finish(self) -> None:
        """Once every branch is through: clean up what was cancelled, then say how it ended."""
        if self.over or self._going:
            return
        if self._cancelled and not self._cleaning:
            self._cleaning = True
            self._branches.append(self._plan.cleanup)
            self._at.append(0)
            self._going.add(len(self._at) - 1)
            self._advance(len(self._at) - 1)
            self._finish()
        elif self._unfit:
            self._process.after(_JUDGED_US, self._stuck)
        elif self._cancelled and self._plan.on_cancel == "raise":
            self._end(channel.StepRaised(self._token, Failure("CancelledError", ""), cancelled=True))
        elif self._plan.end == "raise":
            self._end(channel.StepRaised(self._token, FAILURE))
            self._mend()
        elif self._plan.end != "hang":
            self._end(self._directive())
            self._mend()

    def _mend(self) -> None:
        """Whoever retries what has failed has corrected the code."""
        if self._plan.end in ("fail", "raise"):
            self._plan.end = "complete"

    @property
    def _unfit(self) -> bool:
        return self._process.generation < self._plan.unfit_until

    def _stuck(self) -> None:
        self._end(channel.StepStuck(self._token, f"unfit before generation {self._plan.unfit_until}"))

    def _directive(self) -> channel.StepDone:
        plan = self._plan
        put = {"by": _encode(self._number), f"k{self._message.step % 3}": _encode(self._number)}
        deleted = [f"k{(self._message.step + 1) % 3}"]
        return channel.StepDone(
            self._token, plan.end, plan.name, plan.names, plan.after_ms,
            _encode(self._number) if plan.end == "complete" else b"null",
            FAILURE if plan.end == "fail" else None, put, deleted,
        )  # fmt: skip

    def _end(self, message: channel.ToDaemon) -> None:
        if not self.over:
            self.over = True
            self._asked.clear()
            self._process.said(message)
            self._process.ended(self._token)
