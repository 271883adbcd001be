"""Running one call of a task: what was recorded is returned, what was begun goes on, and the rest is tried as its policy says.

The function runs while its beginning is being recorded, so a task costs one wait, for its outcome. What comes back has always been
through JSON, and what is raised has always been data: so the first execution sees exactly what a replay would.
"""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import msgspec

from wfctl.errors import TaskTimeoutError, from_data
from wfctl.sdk import current
from wfctl.sdk.current import Attempt, CurrentStep
from wfctl.sdk.definition import Call, Definition
from wfctl.sdk.failure import describe_task_failure, rebuilt, with_trace
from wfctl.sdk.port import Ops
from wfctl.sdk.replay import Record
from wfctl.values.codec import encode, encode_plain
from wfctl.values.failure import Failure
from wfctl.values.times import format_duration

_json = msgspec.json.Encoder().encode
# Not the module's shared generator, which an author may have seeded.
_jitter = random.SystemRandom()


async def run(step: CurrentStep, task: Definition, call: Call, function: Callable[[], Any], place: str) -> Any:
    """The outcome of this call of `task`; `function` does the work, `place` is the line that called it."""
    ops = step.ops
    record: Record | None = None
    key = ops.fresh("task", task.key, call.content)
    if key is None:
        key, record = await ops.find("task", task.key, call.content, place)
    attempt = 1
    if record is not None:
        if not record.open:
            return _replayed(ops, task, record)
        attempt = record.attempts + 1
        await ops.tell("resume", task.name, key, b"{}")
    while True:
        ops.begin(task.name, key, b'{"arguments":%b,"attempt":%d}' % (call.arguments, attempt))
        info = Attempt(ops, key, task.name, attempt)
        try:
            if task.is_async:
                value, error = await _tried(task, function, info, step)
            else:
                ops.waits(key)
                async with step.threads.turn():
                    value, error = await _tried(task, function, info, step)
        except BaseException:
            ops.left(task.name, key)
            raise
        if error is None:
            value, data, error = _through_json(task, value)
        elif task.policy.retries(error, attempt):
            await _failed_once(ops, task, key, attempt, error)
            attempt += 1
            continue
        if error is not None:
            failure = describe_task_failure(error, ops.sources)
            ended = {"failure": failure, "attempts": attempt, "max_attempts": task.policy.attempts}
            await ops.tell("task_failed", task.name, key, _json(ended))
            # Not from `error`, which a replay does not have.
            raise _to_raise(task, failure)
        await ops.tell("task_completed", task.name, key, b'{"result":%b,"attempts":%d}' % (data, attempt))
        return value


def _replayed(ops: Ops, task: Definition, record: Record) -> Any:
    if record.error is not None:
        raise from_data(record.error)
    if record.failure is not None:
        raise _to_raise(task, record.failure)
    try:
        return task.result(record.value)
    except Exception as error:  # converting runs the user's own code
        ops.stuck(
            f"{error}: what task {task.name!r} ({ops.sources.place(task.file, task.line)}) returned does not fit its return type "
            "any more: put the type back, or let it take what was recorded"
        )


def _through_json(task: Definition, value: Any) -> tuple[Any, bytes, Exception | None]:
    """The result as a replay would return it. One that cannot be recorded fails the task for good: it did its work."""
    try:
        data = encode_plain(value)
        kind = type(value)
        if data is not None and value is not None and kind is not dict:
            wanted = task.result_type
            if wanted is kind or wanted is Any:
                return value, data, None
        data = data or encode(value, f"result of task {task.name!r}")
        return task.result(data), data, None
    except Exception as error:  # converting runs the user's own code
        return None, b"", error


async def _tried(
    task: Definition, function: Callable[[], Any], attempt: Attempt, step: CurrentStep
) -> tuple[Any, Exception | None]:
    """One attempt: its result, or the exception that is its failure. A cancellation and the like pass."""
    limit: asyncio.Timeout | None = None
    outside = current.attempt.set(attempt)
    try:
        begun = step.loop.time()
        if task.is_async:
            work = function()
            # One that somebody awaits already, as a cached function returns it, is not ours to drive: `await` says so.
            if type(work) is types.CoroutineType and not work.cr_suspended:
                # A timer costs more than many a function: it is set where the function first waits.
                ended, come = _begun(work)
                if ended:
                    return come, None
                work = _going_on(work, come)
            attempt.waits()
            async with step.time_limit(task.timeout_ms, begun) as limit:
                return await work, None
        was_told = step.ops.cleans_up
        async with step.time_limit(task.timeout_ms, begun) as limit:

            def stays() -> bool:
                # The handler would clean up beside a function that still runs. Other cancellations are its own doing.
                told = step.ops.cleans_up and not was_told
                return told and not (limit is not None and limit.expired())

            value, error = await step.threads.run(function, f"wfctl-task {task.name}", stays)
    except TimeoutError as late:
        return None, _timed_out(task, late) if limit is not None and limit.expired() else late
    except Exception as raised:
        return None, raised
    finally:
        current.attempt.reset(outside)
    if error is None or isinstance(error, Exception):
        return value, error
    raise error


def _begun(work: Coroutine[Any, Any, Any]) -> tuple[bool, Any]:
    """Whether `work` ends before it waits: what it returns, or else what it waits for."""
    # On its own: what catches an exception is gone through from its first line to where that came from.
    try:
        return False, work.send(None)
    except StopIteration as end:
        return True, end.value


@types.coroutine
def _going_on(work: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """The rest of `work`, which was begun by hand and now waits for `waiting`."""
    thrown: BaseException | None = None
    try:
        yield waiting
    except GeneratorExit:
        work.close()
        raise
    except BaseException as error:
        thrown = error
    if thrown is None:
        return (yield from work)
    try:
        waiting = work.throw(thrown)
    except StopIteration as end:
        return end.value
    finally:
        del thrown
    return (yield from _going_on(work, waiting))


def _timed_out(task: Definition, late: TimeoutError) -> TaskTimeoutError:
    assert task.timeout_ms is not None
    error = TaskTimeoutError(
        f"task {task.name} took longer than {format_duration(task.timeout_ms)}",
        hint="give @task(timeout=...) a longer one, or None for no limit",
        task=task.name,
        timeout_ms=task.timeout_ms,
    )
    # Where it was when its time was over.
    return error.with_traceback(late.__cause__.__traceback__ if late.__cause__ is not None else late.__traceback__)


async def _failed_once(ops: Ops, task: Definition, key: str, attempt: int, error: Exception) -> None:
    failure = describe_task_failure(error, ops.sources)
    delay_ms = task.policy.delay_ms(attempt, _jitter.random())
    ops.log(
        "warning",
        f"task {task.name} failed (attempt {attempt} of {task.policy.attempts}): {failure}; next in {format_duration(delay_ms)}",
        new=True,
    )
    told = {
        "attempt": attempt, "max_attempts": task.policy.attempts, "failure": failure, "delay_ms": delay_ms
    }  # fmt: skip
    await ops.tell("task_attempt_failed", task.name, key, _json(told))


def _to_raise(task: Definition, failure: Failure) -> Exception:
    error = rebuilt(failure)
    if failure.frame:
        error.add_note(f"(raised by task {task.name}, {failure.frame})")
    return with_trace(error, failure)
