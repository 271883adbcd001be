"""The blocking transport: a plain Unix socket moving the bytes of the shared `Conversation`.

The command line's half of the client. It knows no asyncio, so that a command starts in the time its few imports take, and it
holds no protocol knowledge: what a line means is `wfctl.protocol.rpc`'s. One call, stream or set of calls is under way at a time.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from wfctl import __version__
from wfctl.client.faults import cut_short, dropped, oversize, unreachable, unread, unsupported
from wfctl.errors import DaemonDownError, WfctlError
from wfctl.protocol.call import Call
from wfctl.protocol.hello import Hello, Welcome
from wfctl.protocol.rpc import Conversation, Item, Reply

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 60.0
LAST_WORDS_S = 0.2
_CHUNK_BYTES = 1 << 16


class Connection:
    """One connection to a daemon, past its handshake.

    Every failure of the socket is a DaemonDownError that says what was going on; an error of the daemon is raised as its
    own class.
    """

    def __init__(self, sock: socket.socket, path: Path, project: str) -> None:
        self._sock = sock
        self._talk = Conversation()
        self._ready: deque[Item | Reply] = deque()
        self.path = path
        self.project = project
        self.welcome: Welcome | None = None
        self._how_ended: Callable[[], str] | None = None

    @classmethod
    def over(cls, sock: socket.socket, path: Path, project: str, how_ended: Callable[[], str]) -> Connection:
        """The same over a socket that is connected already, to a process that answers in a daemon's place and only reads.
        `how_ended` tells of it, once it has hung up, how it ended."""
        connection = cls(sock, path, project)
        connection._how_ended = how_ended
        try:
            connection._greet(CALL_TIMEOUT_S)
        except BaseException:
            sock.close()
            raise
        return connection

    @property
    def read_only(self) -> bool:
        """Whether it is no daemon that answers."""
        return self._how_ended is not None

    @classmethod
    def connect(cls, path: Path, *, project: str = "", timeout_s: float = CONNECT_TIMEOUT_S) -> Connection:
        """Connect and shake hands. `project` is how errors name what has no daemon (default: the socket)."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection = cls(sock, path, project)
        try:
            sock.settimeout(timeout_s)
            try:
                sock.connect(str(path))
            except OSError as error:
                raise unreachable(path, project, error) from None
            connection._greet(timeout_s)
        except BaseException:
            sock.close()
            raise
        return connection

    def _greet(self, timeout_s: float) -> None:
        welcome: Welcome = self.call(Hello(version=__version__), timeout_s=timeout_s)
        error = unsupported(welcome)
        if error is not None:
            raise error
        self.welcome = welcome
        self._talk.protocol = welcome.protocol

    def call(self, call: Call, *, timeout_s: float | None = CALL_TIMEOUT_S) -> Any:
        """The answer to `call`, an instance of its `answer` type. `timeout_s` None waits as long as the daemon lives."""
        id = self._send(call)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                got = self._next(id, deadline, call.method)
            except TimeoutError:
                self._forget(id)
                if self.read_only:
                    raise unread(call.method, timeout_s) from None
                raise DaemonDownError(
                    f"the daemon at {self.path} did not answer {call.method!r} within {timeout_s:g} s",
                    hint="wfctl logs",
                    socket=str(self.path),
                ) from None
            if isinstance(got, Reply):
                if got.error is not None:
                    raise got.error
                return got.value

    def each(self, calls: Sequence[Call]) -> Iterator[tuple[int, Any]]:
        """The answers to several calls that are made at once, each with the position of its call, in the order they come.

        The first error is raised. Whoever stops listening before the end should close the connection.
        """
        unsent = bytearray()
        positions: dict[int, int] = {}
        for position, call in enumerate(calls):
            id, line = self._line(call)
            positions[id] = position
            unsent += line
        while positions:
            while self._ready:
                got = self._ready.popleft()
                if isinstance(got, Reply) and got.id in positions:
                    position = positions.pop(got.id)
                    if got.error is not None:
                        raise got.error
                    yield position, got.value
            if positions:
                self._move(unsent, calls[0].method)

    def _move(self, unsent: bytearray, method: str) -> None:
        """Send of `unsent` what the daemon takes now, and read what it says: one that is not read stops to read as well."""
        readable, writable, _ = select.select([self._sock], [self._sock] if unsent else [], [])
        self._sock.settimeout(0)
        try:
            if writable:
                del unsent[: self._sock.send(unsent[:_CHUNK_BYTES])]
            data = self._sock.recv(_CHUNK_BYTES) if readable else None
        except BlockingIOError:
            return
        except OSError:
            raise self._gone(method) from None
        if data is not None:
            if not data:
                raise self._gone(method)
            self._ready.extend(self._talk.feed(data))

    def stream(self, call: Call) -> Stream:
        """Begin a streaming call."""
        return Stream(self, self._send(call), call)

    def close(self) -> None:
        self._sock.close()

    def wait_closed(self, timeout_s: float) -> bool:
        """Read until the daemon has closed this connection; False when it has not within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                self._next(0, deadline, "down")
        except TimeoutError:
            return False
        except DaemonDownError:
            return True

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self, call: Call) -> tuple[int, bytes]:
        id, line = self._talk.call(call)
        if self.welcome is not None and len(line) > self.welcome.limit_bytes:
            # The daemon would have to hang up in the middle of it, and could not say why.
            raise oversize(call.method, len(line), self.welcome.limit_bytes)
        return id, line

    def _send(self, call: Call) -> int:
        id, line = self._line(call)
        try:
            self._sock.settimeout(CALL_TIMEOUT_S)
            self._sock.sendall(line)
        except OSError:
            # What the daemon said before it hung up tells more than the broken pipe does.
            raise self._last_words(id) or self._gone(call.method) from None
        return id

    def _last_words(self, id: int) -> WfctlError | None:
        try:
            got = self._next(id, time.monotonic() + LAST_WORDS_S, "")
        except (TimeoutError, DaemonDownError):
            return None
        return got.error if isinstance(got, Reply) else None

    def _next(self, id: int, deadline: float | None, method: str) -> Item | Reply:
        """The next thing said about call `id`. TimeoutError at `deadline` (monotonic seconds)."""
        while True:
            while self._ready:
                got = self._ready.popleft()
                if got.id == id:
                    return got
            if deadline is None:
                self._sock.settimeout(None)
            else:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._sock.settimeout(left)
            try:
                data = self._sock.recv(_CHUNK_BYTES)
            except TimeoutError:
                raise
            except OSError:
                raise self._gone(method) from None
            if not data:
                raise self._gone(method)
            self._ready.extend(self._talk.feed(data))

    def _gone(self, method: str) -> WfctlError:
        """Nobody answers any more."""
        return dropped(self.path, method) if self._how_ended is None else cut_short(method, self._how_ended())

    def _forget(self, id: int) -> None:
        line = self._talk.cancel(id)
        try:
            self._sock.sendall(line)
        except OSError:
            pass  # whoever uses the connection next is told


class Stream:
    """The items of one streaming call. When `ended`, `answer` is the call's final answer."""

    def __init__(self, connection: Connection, id: int, call: Call) -> None:
        self._connection = connection
        self._id = id
        self._method = call.method
        self.ended = False
        self.answer: Any = None

    def poll(self, timeout_s: float | None) -> Any | None:
        """The next item; None when none came within `timeout_s`, or when the stream has ended (see `ended`)."""
        if self.ended:
            return None
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            got = self._connection._next(self._id, deadline, self._method)
        except TimeoutError:
            return None
        if isinstance(got, Item):
            return got.value
        self.ended = True
        if got.error is not None:
            raise got.error
        self.answer = got.value
        return None

    def ready(self, timeout_s: float | None, or_fd: int) -> bool:
        """Wait until there is something to `poll` (True), for at most `timeout_s` or until the descriptor `or_fd` can be read."""
        if self.ended or self._connection._ready:
            return True
        fd = self._connection._sock.fileno()
        readable, _, _ = select.select([fd, or_fd], [], [], timeout_s)
        return fd in readable

    def __iter__(self) -> Iterator[Any]:
        while True:
            item = self.poll(None)
            if self.ended:
                return
            yield item

    def close(self) -> None:
        """Lose interest: the daemon is told, and what still comes is dropped."""
        if not self.ended:
            self.ended = True
            self._connection._forget(self._id)
