"""An asyncio event loop without a clock and without files: time jumps to the next thing that is due.

What asyncio orders stays in order: callbacks that are ready run first in, first out, and of two timers the earlier one. What it
leaves open is decided by whoever sends a message: with what delay it comes.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

US = 1_000_000


class Life:
    """One life of a simulated process: when it is `over`, nothing that it had still scheduled happens any more."""

    __slots__ = ("context", "over", "tasks")

    def __init__(self) -> None:
        self.over = False
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = contextvars.copy_context()
        self.context.run(LIFE.set, self)

    def end(self) -> None:
        """As SIGKILL does: no callback, no `finally` and no answer comes out of it any more."""
        self.over = True
        for task in self.tasks:
            if not task.done():
                # It is left as it is: nothing of it ever runs again, and that is how it should be.
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                self.context.run(_close, task.get_coro())
        self.tasks.clear()


LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


def _close(coroutine: Any) -> None:
    try:
        coroutine.close()
    except RuntimeError:  # it awaits in a `finally`
        return


class Loop(asyncio.BaseEventLoop):
    """`now_us` is the time since the beginning. `problems` are the exceptions that nobody caught."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 0
        self.turns = 0
        self.problems: list[str] = []
        self.stopped = False
        self._soon: deque[asyncio.Handle] = deque()
        self._later: list[tuple[int, int, asyncio.Handle]] = []
        self._order = 0

    # -- what asyncio asks of a loop -----------------------------------------------------------

    def time(self) -> float:
        return self.now_us / US

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.at_us(round(when * US), callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.at_us(self.now_us + round(delay * US), callback, *args, context=context)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name or "", context=context)
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            life.tasks.append(task)
            if len(life.tasks) > 256:
                life.tasks = [known for known in life.tasks if not known.done()]
        return task

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "never retrieved" not in context["message"] and "was destroyed" not in context["message"]:
            lines = traceback.format_exception(error) if isinstance(error, BaseException) else []
            self.problems.append(f"{context['message']}: {error!r}\n{''.join(lines)}")

    # -- what the simulator asks of it ---------------------------------------------------------

    def at_us(
        self, at_us: int, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(at_us, callback, args, self, context)
        self._order += 1
        heapq.heappush(self._later, (at_us, self._order, handle))
        return handle

    def after_us(
        self, delay_us: int, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.at_us(self.now_us + delay_us, callback, *args, context=context)

    async def pause(self, delay_us: int) -> None:
        """Simulated time passes."""
        over: asyncio.Future[None] = asyncio.Future(loop=self)
        self.after_us(delay_us, _set, over)
        await over

    def run(self, turns: int) -> bool:
        """Run until nothing is due any more, at most `turns` callbacks. False where that was not enough."""
        asyncio._set_running_loop(self)
        soon, later = self._soon, self._later
        try:
            while not self.stopped:
                if not soon:
                    if not later:
                        return True
                    at_us, _, timer = heapq.heappop(later)
                    if timer._cancelled:  # type: ignore[attr-defined]
                        continue
                    self.now_us = max(self.now_us, at_us)
                    soon.append(timer)
                handle = soon.popleft()
                life = handle._context.get(LIFE)  # type: ignore[attr-defined]
                if handle._cancelled or (life is not None and life.over):  # type: ignore[attr-defined]
                    continue
                handle._run()
                turns -= 1
                self.turns += 1
                if turns <= 0:
                    return False
                if self.problems:
                    self.stopped = True
            return True
        finally:
            asyncio._set_running_loop(None)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
