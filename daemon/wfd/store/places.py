"""Where the database is written: in a thread of this process, or apart, in a process of its own.

Both do one request after the other and answer each on the loop. A process of its own does not share the interpreter with the
engine: a thread gives it up around every step of a statement, and beside a busy loop gets it back late, a switch interval each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import msgspec

import wfctl
from wfctl.errors import StorageError, reason
from wfctl.values.causes import out_of_files
from wfd.store.database import Database, Setting, is_commit

log = logging.getLogger("wfd.store")

HEADER_BYTES = 4
# Of what is asked: as much as the socket has at once.
_BUFFERED_BYTES = 256 * 1024
# A process that has closed its channel is about to end by itself, and then says how.
_LAST_MOMENTS_S = 0.2
_LAST_WORDS_BYTES = 4_000


class Place(Protocol):
    """`start` returns when it can be asked. `lost` is called when it has ended of itself: what was asked is not answered then.
    `most_asked` is how many commits it is asked for before the first is answered."""

    most_asked: int

    async def start(self, answered: Callable[[bytes], None], lost: Callable[[str], None]) -> None: ...
    def ask(self, request: bytes) -> None: ...
    async def stop(self) -> None: ...


class InThread:
    """`before_commit` is called in the thread with the number of the commit that is about to happen, and may raise or block."""

    most_asked = 1

    def __init__(self, setting: Setting, before_commit: Callable[[int], None]) -> None:
        self._database = Database(setting, before_commit)
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def start(self, answered: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, args=(loop, answered), name="wfd-writer", daemon=True)
        self._thread.start()

    def ask(self, request: bytes) -> None:
        self._requests.put(request)

    async def stop(self) -> None:
        if self._thread is not None:
            self._requests.put(None)
            self._thread.join()
            self._thread = None

    def _work(self, loop: asyncio.AbstractEventLoop, answered: Callable[[bytes], None]) -> None:
        while (request := self._requests.get()) is not None:
            reply = self._database.obey(request)
            # The loop is closed only where nobody waits for the answer any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(answered, reply)


class Apart:
    """A process, `wfd.store.apart`. `held` are descriptors it inherits: with one that has the lock on the state directory,
    no other daemon takes that over while this process may still write."""

    # It goes on with the next while the loop is still busy and hears of the last only after that. What has come by then goes into
    # one commit: the units of so many turns of a busy loop wait for the rest of the one under way, and for no other.
    most_asked = 16

    def __init__(self, setting: Setting, held: Callable[[], Sequence[int]]) -> None:
        self._setting = setting
        self._held = held
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: _Pipe | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self, answered: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        try:
            ours, self._process = self._spawn()
        except OSError as error:
            raise out_of_files(error) or StorageError(
                f"cannot start the process that writes the database: {reason(error)}", hint="wfctl doctor"
            ) from error
        process = self._process

        def ended() -> None:
            if self._process is process:
                self._process = self._pipe = None
                lost(_end(process))

        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        _, self._pipe = await loop.create_unix_connection(lambda: _Pipe(answered, ended), sock=ours)

    def _spawn(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                return ours, subprocess.Popen(
                    [sys.executable, "-P", "-m", "wfd.store.apart", "--fd", str(theirs.fileno()),
                     "--setting", msgspec.json.encode(self._setting).decode(), "--daemon", wfctl.__version__],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                    pass_fds=(theirs.fileno(), *self._held()),
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise

    def ask(self, request: bytes) -> None:
        assert self._pipe is not None
        self._pipe.send(request)

    async def stop(self) -> None:
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> str:
    """Nothing is asked of it any more: see to it that it is gone. How it ended, in words."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LAST_MOMENTS_S)
    process.kill()
    _, said = process.communicate()
    code = process.returncode
    how = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = f"signal {signal.Signals(-code).name}"
    words = said[-_LAST_WORDS_BYTES:].decode("utf-8", "replace").strip()
    if words:
        log.error("the process that writes the database said: %s", words)
    return how


class _Pipe(asyncio.Protocol):
    """Our end of its socketpair: frames with their length in front."""

    def __init__(self, answered: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._answered = answered
        self._ended = ended
        # The beginning of a reply as it came, joined once all of it is there.
        self._pieces: list[bytes] = []
        self._missing = 0
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        start, stop, size = 0, HEADER_BYTES, len(data)
        while stop <= size:
            begin, stop = stop, stop + int.from_bytes(data[start:stop], "big")
            if stop > size:
                break
            self._answered(data[begin:stop])
            start, stop = stop, stop + HEADER_BYTES
        if start < size:
            self._pieces.append(data[start:])
            self._missing = stop - size

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()

    def send(self, request: bytes) -> None:
        self._transport.writelines((len(request).to_bytes(HEADER_BYTES, "big"), request))

    def close(self) -> None:
        self._ended = lambda: None
        self._transport.close()


def frame(reply: bytes) -> bytes:
    return len(reply).to_bytes(HEADER_BYTES, "big") + reply


class Frames:
    """What comes in at the other end of the pipe, in its order."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        # Not a new one for each look, which would be memory mapped and given back each time.
        self._room = memoryview(bytearray(_BUFFERED_BYTES))
        self._held = bytearray()
        self._whole: deque[bytes] = deque()
        self._ended = False

    def take(self) -> list[bytes]:
        """The next request, waiting for it; where it is a commit, with the commits that have come right behind it. Nothing at the
        end. Raises ConnectionError where whoever asks is gone without having heard all answers."""
        self._read()
        if not self._whole:
            return []
        taken = [self._whole.popleft()]
        if is_commit(taken[0]):
            while self._whole and is_commit(self._whole[0]):
                taken.append(self._whole.popleft())
        return taken

    def _read(self) -> None:
        """All that is there; where that is no whole request, until there is one."""
        while not self._ended:
            try:
                size = self._channel.recv_into(self._room, 0, socket.MSG_DONTWAIT if self._whole else 0)
            except BlockingIOError:
                return
            self._ended = not size
            self._held += self._room[:size]
            at = 0
            with memoryview(self._held) as held:
                while len(held) - at >= HEADER_BYTES:
                    begin = at + HEADER_BYTES
                    end = begin + int.from_bytes(held[at:begin], "big")
                    if len(held) < end:
                        break
                    self._whole.append(bytes(held[begin:end]))
                    at = end
            del self._held[:at]
            if self._whole and size < _BUFFERED_BYTES:
                return
