"""One connection: bytes to calls, calls to tasks, answers to bytes. Whatever the peer does, only its own calls suffer."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, cast

import msgspec

from wfctl.errors import DeniedError, UsageError, WfctlError
from wfctl.protocol import rpc
from wfctl.protocol.calls import Call, Hello, Result
from wfctl.values.codec import too_large
from wfd.runtime.promise import Promise, Promised, future_of
from wfd.server.backlog import UNDECODABLE, Backlog, Misread, decode_cancel, understood
from wfd.server.connections import ALL_CALLS
from wfd.server.endpoint import gone, peer
from wfd.server.handlers.hello import greet
from wfd.server.host import Host
from wfd.server.outbox import Outbox
from wfd.server.refusals import fitting, invalid_params, kept, stopping, told, too_many_waits
from wfd.server.route import Route
from wfd.server.router import HANDSHAKE, unknown_method

log = logging.getLogger("wfd.server")

MAX_UNSENT_BYTES = 256 << 10
# Calls of one connection that wait for something to happen (a result, a stream). They cost memory only, and what they wait for
# may have to come over this very connection: so the next one is refused, and not waited for.
MAX_WAITS = 10_000
_BUSY = f"a connection has its share of {ALL_CALLS} calls under way, or does not read its answers"
_ENOUGH = "a connection has more runs to start while there is enough under way"
# A line this many times over the limit is not read to its end, though its exact size would help its sender.
_GIVE_UP_FACTOR = 16
_LINGER_S = 5.0
# How often it is looked whether one that says no more, and waits for answers, is still there.
LOOK_S = 5.0

_decode_hello = msgspec.json.Decoder(Hello).decode


class Session(asyncio.Protocol):
    def __init__(self, host: Host[Session]) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._lines = rpc.LineBuffer(host.welcome.limit_bytes)
        self._greeted = self._closing = False
        self._oversize = self._pid = 0
        # The last of each is whether it is one of those that wait.
        self._open: dict[int | str, tuple[Promised, Route, bool]] = {}
        # What has been read and has to wait for calls before it. Afterwards, where nothing more will come, that is the end.
        self._unheard = Backlog()
        self._said_all = self._calling = False
        self._calls = self._starts = self._tasks = self._waits = 0
        self._reading, self._busy = True, ""
        self._writable = asyncio.Event()
        self._writable.set()
        self._deadline: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()

    # -- the transport's calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        self._out = Outbox(self._loop, self._transport)
        self._pid, uid = peer(transport.get_extra_info("socket"))
        self._host.sessions.add(self)
        refused = self._host.connections.enter(self._pid)
        if uid != self._host.uid:
            log.warning("refused a connection from uid %d", uid)
            self._refuse(
                DeniedError(f"this daemon is of uid {self._host.uid}; you are uid {uid}", hint="use your own daemon")
            )
        elif refused is not None:
            self._refuse(refused)
        else:
            self._deadline = self._loop.call_later(self._host.handshake_s, self._silent)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._oversize:
            self._measure(data)
            return
        try:
            lines = self._lines.feed(data)
        except WfctlError as error:
            self._begin_oversize(int(error.detail["size_bytes"]), ended=b"\n" in data)
            return
        # What is answered here is sent later: it is no matter in between whether the peer reads.
        waiting, writable = self._unheard.waiting, self._writable.is_set()
        for line in lines:
            # Whoever hangs up, or will, at one of them hears no more, however much it is.
            if self._closing or (waiting and self._unheard.last):
                break
            message = understood(line)
            if type(message) is rpc.Envelope and message.id is None and message.method == "cancel" and self._greeted:
                self._give_up(message.params)  # at once: there may be no room for other calls until this one has ended
            elif writable and not waiting and self._room(message):
                self._message(message)
            else:
                self._unheard.add(message, len(line))
        self._hear()

    def eof_received(self) -> bool:
        # It has no more to say, or has died: what it has asked for before that is heard.
        self._out.flush()
        self._said_all = True
        self._hear()
        return not self._transport.is_closing()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._host.sessions.discard(self)
        self._host.connections.leave(self._pid)
        if self._deadline is not None:
            self._deadline.cancel()
        for answer, route, _ in self._open.values():
            if not route.command:
                answer.cancel()
        self._open.clear()
        self._waits = 0
        self._unheard.clear()
        self._out.clear()
        self._writable.set()
        self._read_on()
        self.lost.set()

    def pause_writing(self) -> None:
        # A client that does not read its answers gets to ask no more, so that it cannot fill our memory.
        self._writable.clear()
        self._read_on()

    def resume_writing(self) -> None:
        self._writable.set()
        self._hear()

    def _read_on(self) -> None:
        """Read, unless there is enough to do already."""
        ready = self._closing or self._writable.is_set()
        busy = not self._closing and not (ready and not self._unheard.waiting)
        if busy != bool(self._busy):
            if busy:
                room = ready and self._host.connections.room(self._calls, self._tasks)
                self._busy = _ENOUGH if room else _BUSY
                self._host.pressure.begin(self._busy)
                self._host.connections.held.add(self._hear)
            else:
                self._host.pressure.end(self._busy)
                self._host.connections.held.discard(self._hear)
                self._busy = ""
        wanted = ready and not self._unheard.full
        if wanted != self._reading:
            self._reading = wanted
            if not self._transport.is_closing() and not self._said_all:
                (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    # -- lines in -------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Take what has been read, as far as there is room for its calls and answers."""
        unheard = self._unheard
        while unheard.waiting and self._writable.is_set() and self._room(unheard.first):
            self._message(unheard.take())
        self._read_on()
        if self._said_all and not unheard.waiting and not self._closing:
            self._leave()

    def _leave(self) -> None:
        """Nothing more comes: hang up when everything is answered, or nobody is there who waits for that."""
        if self._open and not gone(self._transport.get_extra_info("socket").fileno()):
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self._loop.call_later(LOOK_S, self._leave)
        else:
            self._out.close()

    def _room(self, message: rpc.Envelope | Misread) -> bool:
        """Whether this, the next of what has been read, may begin."""
        connections = self._host.connections
        if not connections.room(self._calls, self._tasks):
            return False
        # Who has hung up after the last is heard while it still can be.
        return self._said_all or connections.room_to_start(self._starts) or not self._host.asks_for_start(message)

    def _message(self, message: rpc.Envelope | Misread) -> None:
        if self._closing:  # by one before this
            return
        if isinstance(message, Misread):
            self._refuse(message.error, message.code)
        elif not self._greeted:
            self._greet(message)
        elif message.method is None:
            self._refuse(UsageError("a message without a method"), rpc.INVALID_REQUEST)
        elif message.id is not None:
            self._request(message.id, message.method, message.params)
        elif message.method == "cancel":
            self._give_up(message.params)
        # Any other notification is one of a newer client: by JSON-RPC it gets no answer.

    def _greet(self, envelope: rpc.Envelope) -> None:
        if envelope.method != HANDSHAKE or envelope.id is None:
            self._refuse(UsageError("the first message must be a 'hello' request"), rpc.INVALID_REQUEST, envelope.id)
            return
        try:
            welcome = greet(self._host.welcome, _decode_hello(envelope.params))
        except WfctlError as error:
            self._refuse(error, id=envelope.id)
        except UNDECODABLE as error:
            self._refuse(invalid_params(HANDSHAKE, error), rpc.INVALID_PARAMS, envelope.id)
        else:
            self._greeted = True
            if self._deadline is not None:
                self._deadline.cancel()
            self._out.write(rpc.response(envelope.id, welcome))

    def _request(self, id: int | str, method: str, params: msgspec.Raw) -> None:
        host, withdrawn = self._host, False
        if self._unheard.withdrawn and (withdrawn := id in self._unheard.withdrawn):
            self._unheard.withdrawn.discard(id)
        route = host.routes.get(method)
        if route is None:
            self._out.write(rpc.failure(id, unknown_method(method), rpc.METHOD_NOT_FOUND))
            return
        if withdrawn and not route.command:
            return
        if id in self._open:
            self._out.write(rpc.failure(id, UsageError(f"the id {id} is in use by an open call"), rpc.INVALID_REQUEST))
            return
        try:
            call = route.decode(params)
        except UNDECODABLE as error:
            self._out.write(rpc.failure(id, invalid_params(method, error), rpc.INVALID_PARAMS))
            return
        waits = route.streams or (type(call) is Result and call.wait)
        if waits and self._waits >= MAX_WAITS:
            self._out.write(rpc.failure(id, too_many_waits(MAX_WAITS)))
            return
        try:
            promised = None if route.promise is None else route.promise(host.backend, call)
        except Exception as error:
            self._out.write(rpc.failure(id, told(error, method)))
            return
        over = partial(self._over, id, route, waits)  # one for all that follows: each callback costs a turn of the loop
        answer: Promised
        if promised is None:
            answer = self._loop.create_task(self._serve(id, route, call))
            answer.add_done_callback(over)
        else:
            answer = promised
            promised.then(over)
        self._open[id] = answer, route, waits
        if route.command:
            host.finishing.add(answer)
        if route.starts:
            self._starts += 1
            host.connections.starts += 1
        if waits:
            self._waits += 1
        else:
            self._calls += 1
            if promised is None:
                self._tasks += 1
            if not self._calling:
                self._calling = True
                host.connections.calling += 1

    def _over(self, id: int | str, route: Route, waited: bool, answer: Promised) -> None:
        promise = answer if isinstance(answer, Promise) else None
        try:
            if promise is not None and not promise.cancelled:  # as it is where it has been given up
                self._answer(id, promise, kept(id, promise, route.method))
        finally:
            if route.command:
                self._host.finishing.discard(answer)
            if route.starts:
                self._starts -= 1
                self._host.connections.starts -= 1
            if not waited:
                self._calls -= 1
                if promise is None:
                    self._tasks -= 1
                if self._unheard.waiting:
                    self._hear()
                if not self._calls:
                    self._calling = False
                    self._host.connections.rests()

    def _give_up(self, params: msgspec.Raw) -> None:
        try:
            id = decode_cancel(params).id
        except UNDECODABLE:
            return
        found = self._open.get(id)
        if found is None:
            self._unheard.withdraw(id)
        elif not found[1].command:
            del self._open[id]
            self._waits -= found[2]
            found[0].cancel()

    def _begin_oversize(self, size: int, *, ended: bool) -> None:
        """A line is over the limit. Read on to its end, for its size, but not for ever."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._oversize = size
        if ended:
            self._too_large()
        else:
            self._deadline = self._loop.call_later(self._host.handshake_s, self._too_large)

    def _measure(self, data: bytes) -> None:
        end = data.find(b"\n")
        self._oversize += len(data) if end < 0 else end
        if end >= 0 or self._oversize > _GIVE_UP_FACTOR * self._host.welcome.limit_bytes:
            self._too_large()

    def _too_large(self) -> None:
        self._refuse(too_large("the message", self._oversize, self._host.welcome.limit_bytes))

    def _silent(self) -> None:
        self._refuse(UsageError(f"no 'hello' within {self._host.handshake_s:g} s"), rpc.INVALID_REQUEST)

    # -- answers out ----------------------------------------------------------------------------

    async def _serve(self, id: int | str, route: Route, call: Call) -> None:
        try:
            if route.streams:
                answer = await self._stream(id, call.method, route.handle(self._host.backend, call))
            else:
                answer = await route.handle(self._host.backend, call)
            line = fitting(rpc.response(id, answer), call.method)
        except asyncio.CancelledError:
            line = rpc.failure(id, stopping())
        except Exception as error:
            line = rpc.failure(id, told(error, call.method))
        self._answer(id, asyncio.current_task(), line)

    def _answer(self, id: int | str, answer: Promised | None, line: bytes) -> None:
        # Who gave the call up, or left, has taken it out: then nobody waits for the line.
        if (mine := self._open.get(id)) is not None and mine[0] is answer:
            del self._open[id]
            self._waits -= mine[2]
            self._out.write(line)
            if self._said_all and not self._open:
                self._hear()

    async def _stream(self, id: int | str, method: str, stream: Any) -> Any:
        items = aiter(stream)
        try:
            async for item in items:
                self._out.write(fitting(rpc.stream_item(id, item), method))
                if self._out.size > MAX_UNSENT_BYTES:
                    self._out.flush()
                    await asyncio.sleep(0)  # a long history must not hold up the others
                if not self._writable.is_set():
                    await self._writable.wait()
            return stream.answer
        finally:
            if items is not stream and hasattr(items, "aclose"):
                await items.aclose()
            await stream.aclose()

    # -- the end --------------------------------------------------------------------------------

    def _refuse(self, error: WfctlError, code: int = rpc.SERVER_ERROR, id: int | str | None = None) -> None:
        """Say why, then hang up."""
        if not self._closing:
            self._out.write(rpc.failure(id, error, code))
            self.close()

    def open_calls(self) -> list[asyncio.Future[Any]]:
        return [future_of(answer) for answer, _, _ in self._open.values()]

    def abandon_calls(self) -> None:
        """The daemon stops: questions and streams end now, with an error that says so; commands are finished."""
        for id, mine in list(self._open.items()):
            if not mine[1].command:
                del self._open[id]
                self._waits -= mine[2]
                mine[0].cancel()
                self._out.write(rpc.failure(id, stopping()))

    def close(self) -> None:
        """Hang up once everything said is sent; a peer that does not read is cut off after a few seconds."""
        if self._closing:
            return
        self._closing = True
        self._read_on()
        if self._deadline is not None:
            self._deadline.cancel()
        self._out.close()
        self._deadline = self._loop.call_later(_LINGER_S, self._transport.abort)

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()
