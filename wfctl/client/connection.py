"""One asyncio connection to a daemon, shared by any number of concurrent calls, and the link that replaces a lost one.

Holds no protocol knowledge: `wfctl.protocol.rpc.Conversation` says what the bytes mean. A stream has a connection of its
own, so that a reader who falls behind stops the daemon from sending, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec

from wfctl import __version__
from wfctl.client.faults import closed, dropped, oversize, unreachable, unsupported
from wfctl.errors import WfctlError, from_data
from wfctl.protocol.call import Call
from wfctl.protocol.hello import Hello, Welcome
from wfctl.protocol.rpc import MAX_LINE_BYTES, Conversation, Item
from wfctl.protocol.runs import Outcome, Result

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
# Items of a stream that wait for their reader: reading stops above, and goes on below half of it.
MAX_WAITING_ITEMS = 1_000
# Results that are waited for at once over one connection, which is below what the daemon takes; the next one waits here.
MAX_RESULTS = 8_000


class Connection(asyncio.Protocol):
    """Made by `open`, which returns it past its handshake."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._talk = Conversation()
        self._calls: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._streams: dict[int, Stream] = {}
        self._unsent: list[bytes] = []
        self._flushing = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._error: WfctlError | None = None
        # No call can be made any more: there is an error.
        self.lost = False
        self._gone = asyncio.Event()
        self._limit_bytes = MAX_LINE_BYTES
        self._results = _Places(MAX_RESULTS)

    @classmethod
    async def open(cls, path: Path, project: str = "", timeout_s: float = CONNECT_TIMEOUT_S) -> Connection:
        """Connect and shake hands: DaemonDownError, DeniedError, ConfigError or IncompatibleError where that fails."""
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_unix_connection(lambda: cls(path), str(path))
                await connection._greet()
        except WfctlError:
            await _discard(connection)
            raise
        except OSError as error:  # a TimeoutError too
            await _discard(connection)
            raise unreachable(path, project, error) from None
        except BaseException:
            await _discard(connection)
            raise
        return connection

    async def _greet(self) -> None:
        welcome: Welcome = await self.call(Hello(version=__version__))
        error = unsupported(welcome)
        if error is not None:
            raise error
        self._limit_bytes = welcome.limit_bytes
        self._talk.protocol = welcome.protocol

    def call(self, call: Call) -> Coroutine[Any, Any, Any]:
        """The answer to `call`. When the caller is cancelled the daemon is told; a command may have happened all the same."""
        return self._wait(call) if isinstance(call, Result) and call.wait else self._ask(call)

    async def _wait(self, call: Result) -> Any:
        """The same of a call that waits, which for that first waits its turn: so long as it has time, and where it has to."""
        if self._results.free:
            self._results.free -= 1
        else:
            began = self._loop.time()
            timeout_s = None if call.timeout_ms is None else call.timeout_ms / 1_000
            look = msgspec.structs.replace(call, wait=False)
            now: Outcome = await self._ask(look)
            if call.ends_with(now.status) or timeout_s == 0:
                return now
            try:
                async with asyncio.timeout_at(None if timeout_s is None else began + timeout_s):
                    await self._results.take()
            except TimeoutError:
                return await self._ask(look)
            if timeout_s is not None:
                left_s = began + timeout_s - self._loop.time()
                call = msgspec.structs.replace(call, timeout_ms=max(round(left_s * 1_000), 0))
        try:
            return await self._ask(call)
        finally:
            self._results.leave()

    async def _ask(self, call: Call) -> Any:
        if self._error is not None or not self._writable.is_set():
            await self._ready(call)
        id = self._send(call)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls[id] = (call.method, future)
        try:
            return await future
        except asyncio.CancelledError:
            if self._calls.pop(id, None) is not None and self._error is None:
                self._write(self._talk.cancel(id))
            raise

    async def stream(self, call: Call) -> Stream:
        """Begin a stream. Only on a connection that nothing else uses."""
        await self._ready(call)
        id = self._send(call)
        stream = self._streams[id] = Stream(call.method, self._read_on)
        return stream

    async def close(self) -> None:
        """Hang up; open calls end with DaemonDownError. Returns when the socket is closed; twice is fine."""
        self._flush()
        self._fail(None)
        self._transport.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._gone.wait()
        except TimeoutError:  # the daemon does not read what is still to be sent
            self._transport.abort()
            await self._gone.wait()

    async def _ready(self, call: Call) -> None:
        while not self._writable.is_set() and self._error is None:
            await self._writable.wait()
        if self._error is not None:
            raise dropped(self._path, call.method)

    def _send(self, call: Call) -> int:
        id, line = self._talk.call(call)
        if len(line) > self._limit_bytes:
            self._talk.cancel(id)
            raise oversize(call.method, len(line), self._limit_bytes)
        self._write(line)
        return id

    def _write(self, line: bytes) -> None:
        """Send together with all else that this turn of the loop has to say."""
        self._unsent.append(line)
        if not self._flushing:
            self._flush_soon()

    def _flush_soon(self) -> None:
        self._flushing = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._unsent and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _read_on(self, wanted: bool) -> None:
        if not self._transport.is_closing():
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _fail(self, error: WfctlError | None) -> None:
        """The connection is of no more use: `error` is why, or None for "the daemon went away"."""
        if self._error is not None:
            return
        self._error = error or dropped(self._path, "")
        self.lost = True
        for method, future in self._calls.values():
            if not future.done():
                # Each its own error: one raised twice would drag the first one's traceback along.
                future.set_exception(from_data(error.to_data()) if error else dropped(self._path, method))
        for stream in self._streams.values():
            stream.fail(from_data(error.to_data()) if error else dropped(self._path, stream.method))
        self._calls.clear()
        self._streams.clear()
        self._writable.set()

    # -- the transport's calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        try:
            heard = self._talk.feed(data)
        except WfctlError as error:
            self._fail(error)
            self._transport.close()
            return
        calls, streams = self._calls, self._streams
        for said in heard:
            if isinstance(said, Item):
                stream = streams.get(said.id)
                if stream is not None:
                    stream.put(said.value)
            elif (asked := calls.pop(said.id, None)) is not None:
                future = asked[1]
                if not future.done():
                    if said.error is None:
                        future.set_result(said.value)
                    else:
                        future.set_exception(said.error)
            elif said.id in streams:
                streams.pop(said.id).end(said.value, said.error)
        # Behind the tasks that these wake: what they ask next leaves in the same turn of the loop.
        if not self._flushing:
            self._flush_soon()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(None)
        self._gone.set()


class _Places:
    """So many at a time. `free` is how many more may come at once: while anybody waits, none. They wait in their order.

    What an `asyncio.Semaphore` does, but that one is asked in five calls where nearly always there is room.
    """

    def __init__(self, free: int) -> None:
        self.free = free
        self._line: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        if self.free:
            self.free -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(mine)
        try:
            await mine
        except BaseException:
            if mine.done() and not mine.cancelled():  # it was given a place as well
                self.leave()
            else:
                self._line.remove(mine)
            raise

    def leave(self) -> None:
        for first in self._line:
            if not first.done():
                first.set_result(None)
                self._line.remove(first)
                return
        self.free += 1


async def _discard(connection: Connection | None) -> None:
    if connection is not None:
        await connection.close()


class Stream:
    """Items as they come. When the iteration has ended by itself, `answer` is the call's answer."""

    def __init__(self, method: str, read_on: Any) -> None:
        self.method = method
        self.answer: Any = None
        self._read_on = read_on
        self._items: deque[Any] = deque()
        self._wake = asyncio.Event()
        self._paused = False
        self._ended = False
        self._error: WfctlError | None = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._wake.set()
        if len(self._items) >= MAX_WAITING_ITEMS and not self._paused:
            self._paused = True
            self._read_on(False)

    def end(self, answer: Any, error: WfctlError | None) -> None:
        self.answer = answer
        self._error = error
        self._ended = True
        self._wake.set()

    def fail(self, error: WfctlError) -> None:
        if not self._ended:
            self.end(None, error)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        item = self._items.popleft()
        if self._paused and len(self._items) <= MAX_WAITING_ITEMS // 2:
            self._paused = False
            self._read_on(True)
        return item


class Link:
    """The way to one daemon. A lost connection fails what was under way on it; the next call makes a new one."""

    def __init__(self, path: Path, project: str = "", reconnect_s: float = 0.0) -> None:
        self.path = path
        # For how long what follows or waits puts up with no daemon.
        self.reconnect_s = reconnect_s
        self._project = project
        self._connection: Connection | None = None
        self._dialling = asyncio.Lock()
        self._streaming: set[Connection] = set()
        self._closed = False

    async def connect(self) -> Connection:
        connection = self._connection
        if connection is not None and not connection.lost and not self._closed:
            return connection
        async with self._dialling:
            if self._closed:
                raise closed()
            if self._connection is None or self._connection.lost:
                if self._connection is not None:
                    await self._connection.close()
                self._connection = await Connection.open(self.path, self._project)
            return self._connection

    def call(self, call: Call) -> Coroutine[Any, Any, Any]:
        """As `Connection.call`, which see; connects where there is no connection. To be awaited at once."""
        connection = self._connection
        if connection is None or connection.lost or self._closed:
            return self._connect_and_call(call)
        return connection.call(call)

    async def _connect_and_call(self, call: Call) -> Any:
        connection = await self.connect()
        return await connection.call(call)

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Stream]:
        """A stream on its own connection, which ends with the block."""
        if self._closed:
            raise closed()
        connection = await Connection.open(self.path, self._project)
        self._streaming.add(connection)
        try:
            if self._closed:  # meanwhile
                raise closed()
            yield await connection.stream(call)
        finally:
            self._streaming.discard(connection)
            await connection.close()

    async def close(self) -> None:
        self._closed = True
        async with self._dialling:
            connections = [*self._streaming, *([self._connection] if self._connection else [])]
            self._connection = None
            for connection in connections:
                await connection.close()
