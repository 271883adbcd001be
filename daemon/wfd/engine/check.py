"""`wfctl check`: candidate code, loaded in a process beside the workers, judged against what open runs are at.

Reads committed rows alone, a page or a run at a time, and writes nothing. Who asks may leave at any time: then the process ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from wfctl.errors import ConfigError, WfctlError
from wfctl.protocol import calls, channel
from wfctl.protocol.channel import Problem
from wfctl.values.signature import HandlerSpec
from wfctl.values.status import Status
from wfd.config import Config, load
from wfd.core.apply import refold
from wfd.core.records import decode
from wfd.core.state import Stepping, Stuck
from wfd.engine.asked import ResultArgs
from wfd.engine.code import problem_view
from wfd.engine.executions import recorded
from wfd.engine.findings import Groups, Place
from wfd.engine.memory import Live, run_of
from wfd.engine.outcomes import as_child
from wfd.engine.reads import Reads
from wfd.runtime.clock import Clock
from wfd.store import browse, needs
from wfd.store.needs import Name, Need, Queued
from wfd.store.reader import Reader, Snapshot
from wfd.supervisor import Catalog
from wfd.supervisor.probe import Answer, Probe, ProbeEnded

# Rehearsals of one handler that may use all their time, or end their process, before its other runs are passed over.
MOST_WAITS = 3
_result_args = msgspec.json.Decoder(ResultArgs).decode
_STEPPING = (Status.RUNNING, Status.CANCELLING, Status.STUCK)


class Checker:
    """One check at a time: each costs a process. `serving` is the catalog that serves now."""

    def __init__(
        self,
        reader: Reader,
        reads: Reads,
        clock: Clock,
        config: Config,
        serving: Callable[[], Catalog],
    ) -> None:
        self.reader = reader
        self.reads = reads
        self.clock = clock
        self.serving = serving
        self._config = config
        self._turn = asyncio.Lock()

    async def check(self, call: calls.CheckCode) -> calls.CodeCheck:
        """What open runs would meet in `call.files`, or in the modules that wfctl.toml names as they are now."""
        async with self._turn:
            try:
                config, modules, path = candidate(self._config, call.files)
            except ConfigError as error:
                line = error.detail.get("line", 0)
                problem = Problem(self._config.file.name, error.message, str(self._config.file), line, error.hint or "")
                return _unloadable(problem)
            given_up: dict[str, Problem] = {}
            trial = CandidateProcess(lambda: Probe(config, modules, path, given_up=given_up))
            try:
                loaded = await trial.start()
                return await _Check(self, trial, loaded, call).run()
            except ProbeEnded as error:
                return _unloadable(Problem(", ".join(modules), str(error), hint="wfctl logs"))
            finally:
                await trial.close()


def candidate(config: Config, files: Sequence[str]) -> tuple[Config, Sequence[str], Sequence[Path]]:
    """The configuration to load code with, its modules, and the folders they are imported from.

    `files` (absolute) from another copy of the project are imported as the modules they are to become: under other names, tasks
    would not be the ones that were recorded.
    """
    if not files:
        now = load(config.file)
        return now, now.modules, now.path
    path: dict[Path, None] = {}
    for file in map(Path, files):
        path |= dict.fromkeys(_folders_of(config, file))
    return config, files, list(path | dict.fromkeys(config.path))


def _folders_of(config: Config, file: Path) -> list[Path]:
    """The folders that the modules beside `file` are imported from, where they are not the project's own."""
    for module in sorted(config.modules, key=len, reverse=True):
        named = module.endswith(".py") or "/" in module
        parts = Path(module).parts if named else Path(f"{module.replace('.', '/')}.py").parts
        if file.parts[-len(parts) :] == parts:
            root = Path(*file.parts[: -len(parts)])
            inside = [folder for folder in config.path if folder.is_relative_to(config.project)]
            return [root / folder.relative_to(config.project) for folder in inside] if named else [root]
    known = any(file.is_relative_to(folder) for folder in (config.project, *config.path))
    return [] if known else [file.parent]


class CandidateProcess:
    """The candidate code in a process, and in another one after that has ended."""

    def __init__(self, make: Callable[[], Probe]) -> None:
        self._make = make
        self.probe: Probe | None = None

    async def start(self) -> channel.Loaded:
        """Raises ProbeEnded where the code cannot even be imported."""
        await self.close()
        self.probe = self._make()
        return await self.probe.start()

    async def close(self) -> None:
        probe, self.probe = self.probe, None
        if probe is not None:
            await probe.close()

    async def misfits(self, items: Sequence[channel.Given]) -> list[str]:
        assert self.probe is not None
        return await self.probe.misfits(items)

    async def rehearse(self, step: channel.RunStep, answer: Answer) -> channel.Rehearsed:
        assert self.probe is not None
        rehearsed = await self.probe.rehearse(step, answer)
        if not rehearsed.clean:
            await self.start()
        return rehearsed


class _Check:
    """One check under way."""

    def __init__(
        self, checker: Checker, trial: CandidateProcess, loaded: channel.Loaded, call: calls.CheckCode
    ) -> None:
        self._c = checker
        self._trial = trial
        self._loaded = loaded
        self._ids = max(call.ids, 1)
        self._catalog = Catalog(
            types={spec.workflow_type: spec for spec in loaded.types}, problems=tuple(loaded.problems)
        )
        # With files, or where a module does not load, a type that is not there says nothing.
        self._partly = bool(call.files or loaded.problems)
        self._findings, self._goes_on, self._notes = (Groups(self._ids) for _ in range(3))
        self._waits: dict[Place, int] = {}
        self._runs = self._steps = self._events = self._rehearsed = 0

    async def run(self) -> calls.CodeCheck:
        async with self._c.reader.snapshot() as snapshot:
            await self._look_up(snapshot)
            types = [of for of in await browse.types(snapshot) if self._judged(of)]
        for status in _STEPPING:
            for workflow_type in types:
                await self._check_steps(workflow_type, status)
        async with self._c.reader.snapshot() as snapshot:
            queued = await needs.queued(snapshot)
        for workflow_type, status in queued:
            if self._judged(workflow_type):
                await self._check_events(workflow_type, status)
        return calls.CodeCheck(
            source_hash=self._catalog.source_hash,
            types=sorted(self._catalog.types),
            problems=[problem_view(problem) for problem in self._loaded.problems],
            findings=self._findings.views(),
            goes_on=self._goes_on.views(),
            notes=self._notes.views(),
            checked=calls.CheckedCounts(
                runs=self._runs, steps=self._steps, events=self._events, rehearsed=self._rehearsed
            ),
        )

    def _judged(self, workflow_type: str) -> bool:
        return not self._partly or workflow_type in self._catalog.types

    # -- handlers that are not there -----------------------------------------------------------

    async def _look_up(self, snapshot: Snapshot) -> None:
        for workflow_type, runs in sorted((await browse.open_by_type(snapshot)).items()):
            if self._judged(workflow_type):
                self._runs += runs
                if workflow_type not in self._catalog.types:
                    stuck, first = await needs.of_type(snapshot, workflow_type, self._ids)
                    reason = self._catalog.missing(workflow_type, "", "")
                    self._findings.add("missing", Place(workflow_type), reason, first, runs=runs, stuck=stuck)
        for need in await needs.needs(snapshot):
            if need.type in self._catalog.types and (found := self._wrong(need)) is not None:
                kind, reason = found
                exact = await needs.exactly(snapshot, need)
                if exact is not None:
                    first = await needs.who_needs(snapshot, need, self._ids)
                    place = Place(need.type, need.kind, need.name)
                    self._findings.add(kind, place, reason, first, runs=exact.runs, stuck=exact.stuck)

    def _wrong(self, need: Need) -> tuple[str, str] | None:
        spec = self._catalog.step_handler(need.type, need.kind, need.name)
        if spec is None:
            return "missing", self._catalog.missing(need.type, need.kind, need.name)
        before = self._c.serving().step_handler(need.type, need.kind, need.name)
        if need.kind == "step" and before is not None and _takes(before) != _takes(spec):
            takes = "takes a child's outcome now" if _takes(spec) else "does not take a child's outcome any more"
            return "arguments", f"step {need.name!r} {takes}: what runs have for it does not fit"
        return None

    # -- steps that are under way --------------------------------------------------------------

    async def _check_steps(self, workflow_type: str, status: Status) -> None:
        after = 0
        while True:
            async with self._c.reader.snapshot() as snapshot:
                page = await needs.steps_after(snapshot, workflow_type, status, after)
            if not page:
                return
            after = page[-1]
            for key in page:
                await self._check_step(key)

    async def _check_step(self, key: int) -> None:
        try:
            live = await self._load(key)
        except (msgspec.MsgspecError, KeyError, ValueError):
            return  # the engine has set it aside, and says so
        if live is None:
            return
        run = live.run
        stuck = isinstance(run.phase, Stuck)
        phase = run.phase.resume if isinstance(run.phase, Stuck) else run.phase
        if not isinstance(phase, Stepping):
            return  # it has gone on meanwhile
        self._steps += 1
        spec = self._catalog.step_handler(run.workflow_type, phase.kind, phase.handler)
        if spec is None:
            return
        place, name = Place(run.workflow_type, phase.kind, phase.handler), Name(run.run_id, run.workflow_id)
        given = channel.Given(run.workflow_type, phase.kind, spec.name, bytes(run.given(phase)))
        (misfit,) = await self._misfits([given])
        if misfit is not None:
            if misfit:
                self._findings.add("arguments", place, misfit, [name], stuck=stuck)
            elif await self._repeats(live, phase, spec, place, name) and stuck:
                self._goes_on.add("goes_on", place, "", [name], stuck=1)

    async def _load(self, key: int) -> Live | None:
        """The run as it is on disk, not as the engine has it."""
        reader = self._c.reader
        async with reader.snapshot() as snapshot:
            loaded = await reader.load_in(snapshot, key)
            if loaded is None:
                return None
            run = run_of(loaded)
            phase = run.phase.resume if isinstance(run.phase, Stuck) else run.phase
            if isinstance(phase, Stepping):
                rows = await reader.history_in(snapshot, key, phase.since)
                run = refold(run, (decode(row.kind, row.data) for row in rows))
        return Live(run, {name: value.encode() for name, value in loaded.store.items()}, None)

    async def _repeats(self, live: Live, phase: Stepping, spec: HandlerSpec, place: Place, name: Name) -> bool:
        """Whether the candidate repeats what the step has recorded; what speaks against it is noted."""
        if not phase.ops:
            return True
        stuck = isinstance(live.run.phase, Stuck)
        if self._waits.get(place, 0) >= MOST_WAITS:
            reason = "not rehearsed: rehearsals of this handler before took too long"
            self._notes.add("skipped", place, reason, [name], stuck=stuck)
            return False
        step = _step_message(live, phase, spec)
        self._rehearsed += 1
        try:
            rehearsed = await self._trial.rehearse(step, lambda op: self._answer(phase, op))
        except ProbeEnded as error:
            self._waits[place] = MOST_WAITS
            self._findings.add("crash", place, str(error), [name], stuck=stuck)
            await self._trial.start()
            return False
        match rehearsed.verdict:
            case "agrees":
                if rehearsed.reason:
                    self._notes.add("raises", place, f"it would raise {rehearsed.reason}", [name], stuck=stuck)
                return True
            case "differs":
                self._findings.add("replay", place, rehearsed.reason, [name], stuck=stuck)
            case "stopped":
                self._notes.add("stopped", place, f"followed up to {rehearsed.reason}", [name], stuck=stuck)
            case _:
                self._waits[place] = self._waits.get(place, 0) + 1
                self._notes.add("waits", place, rehearsed.reason, [name], stuck=stuck)
        return False

    async def _answer(self, phase: Stepping, op: channel.Op) -> bytes | None:
        """What a rehearsed handler may know now: that a sleep is over, and how a child ended."""
        if op.kind == "child_result":
            try:
                match = await self._c.reads.resolve(_result_args(op.args).run_id, exact=True)
                outcome = await self._c.reads.outcome(match.key)
            except WfctlError:
                return None
            return msgspec.json.encode(as_child(outcome)) if outcome.status.closed else None
        if op.kind in ("child_cancel", "child_terminate"):
            return b"null"  # it is as if it were done: nothing is ended for a rehearsal
        known = phase.ops.get(op.key)
        over = known is not None and known.due_at is not None and known.due_at <= self._c.clock.now_ms()
        return b"null" if over else None

    # -- events that are not handled yet -------------------------------------------------------

    async def _check_events(self, workflow_type: str, status: Status) -> None:
        run = seq = 0
        while True:
            async with self._c.reader.snapshot() as snapshot:
                page = await needs.events_after(snapshot, workflow_type, status, run, seq)
            if not page:
                return
            run, seq = page[-1].run, page[-1].seq
            self._events += len(page)
            there = [(event, given) for event in page if (given := self._given(workflow_type, event)) is not None]
            for (event, given), misfit in zip(there, await self._misfits([one for _, one in there]), strict=True):
                if misfit:
                    place, name = _place(given), Name(event.run_id, event.workflow_id)
                    self._findings.add("arguments", place, misfit, [name], stuck=status is Status.STUCK)

    def _given(self, workflow_type: str, event: Queued) -> channel.Given | None:
        """What handles the event in the candidate, and gets it; None where that is missing, or not to be judged."""
        kind, name = ("event", event.name) if event.step is None else ("step", event.step)
        if self._catalog.step_handler(workflow_type, kind, name) is None:
            return None
        return channel.Given(workflow_type, kind, name, event.payload.encode())

    async def _misfits(self, items: Sequence[channel.Given]) -> list[str | None]:
        """Why each does not fit, "" where it does, and None for what is not asked any more, as it ended the process before."""
        asked = [item for item in items if self._waits.get(_place(item), 0) < MOST_WAITS]
        if not asked:
            return [None] * len(items)
        try:
            found = iter(await self._trial.misfits(asked))
        except ProbeEnded as error:
            await self._trial.start()
            if len(asked) > 1:
                return [one for item in items for one in await self._misfits([item])]
            self._waits[_place(asked[0])] = MOST_WAITS
            found = iter([str(error)])
        return [next(found) if item in asked else None for item in items]


def _place(given: channel.Given) -> Place:
    return Place(given.workflow_type, given.kind, given.handler)


def _takes(spec: HandlerSpec) -> bool:
    return any(param.required for param in spec.params)


def _step_message(live: Live, phase: Stepping, spec: HandlerSpec) -> channel.RunStep:
    return channel.RunStep(
        live.run.key, live.run.workflow_type, live.told_at(live.attempt)[1], phase.kind, spec.name,
        bytes(live.run.given(phase)), live.store, [recorded(op) for op in phase.ops.values()],
        cancel=live.run.cancel is not None, step=phase.step,
    )  # fmt: skip


def _unloadable(problem: Problem) -> calls.CodeCheck:
    nothing = calls.CheckedCounts(runs=0, steps=0, events=0, rehearsed=0)
    return calls.CodeCheck(source_hash="", types=[], problems=[problem_view(problem)], checked=nothing)
