"""Where the worker takes a short way, as much holds as on the long one: steps let go of, time limits, arguments, frames."""

from __future__ import annotations

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from support.handlers import Desk
from wfctl import Context, Directive, TaskTimeoutError, Workflow, task
from wfctl.errors import IncompatibleError
from wfctl.protocol.channel import (
    Checked,
    Ping,
    Pong,
    StepDone,
    StepGone,
    to_daemon_frames,
    to_worker_frames,
)
from wfctl.protocol.frames import FrameWriter, encode as encoded, frames, pack
from wfctl.sdk.handler import Handler
from wfctl.values.codec import convert, decode, encode, unchanged
from wfctl.values.signature import bind
from wfd.worker.link import MOST_UNSENT, Link
from wfd.worker.live import LiveOps

wf = Workflow("Order")
did: list[str] = []


@task
async def charge(amount: float) -> str:
    return "txn"


@task(timeout=timedelta(milliseconds=1))
async def blocks_first() -> None:
    loop = asyncio.get_running_loop()
    over = loop.time() + 0.002
    while loop.time() < over:
        pass
    did.append("waits")
    await asyncio.Event().wait()


@task(timeout=timedelta(milliseconds=1))
async def cleans_up_waiting() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        did.append("clean")


@task(timeout=timedelta(milliseconds=1))
async def returns_at_once_when_cancelled() -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "what it had"
    raise AssertionError("unreachable")


@task
async def waits_often(times: int) -> int:
    for _ in range(times):
        await asyncio.sleep(0)
    return times


@task(timeout=None)
async def raises_after_waiting() -> None:
    await asyncio.sleep(0)
    raise ValueError("late")


@task
async def returns_the_same(held: dict[str, int] = {"count": 1}) -> Any:  # noqa: B006
    return held


@wf.start()
async def busy(ctx: Context, amount: float) -> Directive:
    await charge(amount)
    await asyncio.gather(waits_often(3), ctx.now())
    ctx.store.put("at", str(await ctx.now()))
    return ctx.next.complete()


@wf.step()
async def times_out_blocked(ctx: Context) -> Directive:
    with pytest.raises(TaskTimeoutError):
        await blocks_first()
    return ctx.next.complete()


@wf.step()
async def times_out_clean(ctx: Context) -> Directive:
    with pytest.raises(TaskTimeoutError):
        await cleans_up_waiting()
    # Nothing of the limit is left on the handler's task.
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
    return ctx.next.complete()


@wf.step()
async def various(ctx: Context) -> Directive:
    assert await returns_at_once_when_cancelled() == "what it had"
    with pytest.raises(ValueError, match="late") as raised:
        await raises_after_waiting()
    assert raised.value.__context__ is None or raised.value.__cause__ is not None
    return ctx.next.complete(await waits_often(5))


@wf.step()
async def changes_what_it_got(ctx: Context) -> Directive:
    for got in (await returns_the_same(), await returns_the_same()):
        assert got == {"count": 1}
        got["count"] += 1
    return ctx.next.complete()


@wf.step()
def plain(ctx: Context) -> Directive:
    return ctx.next.complete()


@pytest.fixture
async def desk() -> Desk:
    did.clear()
    return Desk(wf)


async def test_a_step_that_has_ended_is_not_left_to_the_garbage_collector(desk: Desk) -> None:
    gc.collect()
    gc.disable()
    before = [one for one in gc.get_objects() if isinstance(one, LiveOps)]
    try:
        for _ in range(3):
            assert isinstance(await desk.finish("start", "busy", {"amount": 1.5}), StepDone)
        for _ in range(30):  # its branches had their turns after the last answer
            await asyncio.sleep(0)
        assert [one for one in gc.get_objects() if isinstance(one, LiveOps)] == before
    finally:
        gc.enable()


async def test_the_time_in_which_a_task_blocks_counts_for_its_limit(desk: Desk) -> None:
    assert isinstance(await desk.finish("step", "times_out_blocked"), StepDone)
    assert did == ["waits"]


async def test_a_task_whose_time_is_over_may_still_wait_to_clean_up(desk: Desk) -> None:
    assert isinstance(await desk.finish("step", "times_out_clean"), StepDone)
    assert did == ["clean"]


async def test_a_task_ends_as_its_function_does_however_often_it_waits(desk: Desk) -> None:
    ended = await desk.finish("step", "various")
    assert isinstance(ended, StepDone), ended
    assert decode(ended.value) == 5


async def test_what_a_task_returned_is_the_handlers_own_as_it_is_in_a_replay(desk: Desk) -> None:
    ended = await desk.finish("step", "changes_what_it_got")
    assert isinstance(ended, StepDone), ended


@pytest.mark.parametrize("handler", ["various", "plain"])
async def test_a_step_whose_task_others_cancel_before_its_first_turn_is_given_back_at_once(
    desk: Desk, handler: str
) -> None:
    before = asyncio.all_tasks()
    token = desk.begin("step", handler)
    (made,) = asyncio.all_tasks() - before
    made.cancel()
    assert not desk.executor.idle
    assert await desk.next() == StepGone(token)
    assert desk.executor.idle
    fence = desk.executor._fence
    assert fence._next - 1 == fence.received == 1


# -- arguments ----------------------------------------------------------------------------------

_TYPES: list[Any] = [str, int, float, bool, list, dict, Any, None, list[int], dict[str, float], int | None, bytes]
_VALUES: list[Any] = [
    None, True, False, 0, -1, 2**63, -(2**70), 0.0, -0.0, 0.1 + 0.2, 1e16, 5e-324, "", "text", "é\u2028\x01\"", "YQ==",
    [], [1, None], [1.5], {}, {"a": 1}, {"a": [{"b": "c"}]},
]  # fmt: skip


@pytest.mark.parametrize("wanted", _TYPES)
def test_arguments_that_are_taken_as_they_are_would_be_bound_and_converted_to_the_same(wanted: Any) -> None:
    async def take(ctx: Context, a: Any, b: Any = None) -> None:
        """For its signature."""

    take.__annotations__.update(a=wanted, b=wanted)
    handler = Handler("Order", "start", None, take, None)
    for value in _VALUES:
        for sent in ({"a": value}, {"b": value, "a": value}):
            plain = decode(encode(sent, "it"))
            if type(value) is wanted or wanted is Any:
                assert handler.takes_as_it_is(plain)
            if handler.takes_as_it_is(plain):
                assert bind(handler.describe(), plain, "it", types=handler.types) == plain
                assert repr(msgspec.convert(value, wanted)) == repr(value)
                assert encode(plain, "it") == encode(sent, "it")
        assert not handler.takes_as_it_is({"b": value})
        assert not handler.takes_as_it_is({"a": value, "c": value})


def test_what_is_unchanged_comes_back_from_json_as_it_was() -> None:
    for value in _VALUES:
        assert unchanged(value) == (type(value) in (str, int, float, bool))
        if unchanged(value):
            back = decode(encode(value, "it"))
            assert (type(back), repr(back)) == (type(value), repr(value))
            assert repr(convert(back, type(value), "it")) == repr(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), type("Name", (str,), {})("x"), None, [1], {}, (1,)])
def test_what_json_would_change_or_share_is_not_unchanged(value: Any) -> None:
    assert not unchanged(value)


# -- frames -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 15, 16, 20_000])
def test_messages_of_a_turn_come_in_their_order_however_many(count: int) -> None:
    messages = [Pong(number) for number in range(count)]
    assert to_daemon_frames().feed(pack(*messages)) == messages


def begun() -> None: ...


def unsaid(message: object, error: Exception) -> None:
    raise AssertionError(f"{message} cannot be said") from error


def written(*messages: object) -> bytes:
    writer = FrameWriter(begun, unsaid)
    for message in messages:
        writer.send(message)
    return bytes(writer.take())


def framed(*messages: object) -> bytes:
    return frames([encoded(message) for message in messages])


@pytest.mark.parametrize("count", [1, 15, 16, 20_000])
def test_messages_that_are_written_one_by_one_come_in_their_order_however_many(count: int) -> None:
    messages = [Pong(number) for number in range(count)]
    assert to_daemon_frames().feed(written(*messages)) == messages


def test_a_message_that_cannot_be_said_leaves_those_around_it_as_they_are() -> None:
    news: list[object] = []
    writer = FrameWriter(lambda: news.append("begun"), lambda message, error: news.append((message, type(error))))
    wrong = Checked(0, b"y" * 1_000, object())  # type: ignore[arg-type]
    for said in (wrong, Checked(1, b"x"), wrong, Pong(2), Pong(3)):
        writer.send(said)
    assert to_daemon_frames().feed(bytes(writer.take())) == [Checked(1, b"x"), Pong(2), Pong(3)]
    assert news == ["begun", (wrong, TypeError), (wrong, TypeError)]
    news.clear()
    writer.send(Pong(4))
    assert to_daemon_frames().feed(bytes(writer.take())) == [Pong(4)]
    writer.send(wrong)
    assert to_daemon_frames().feed(bytes(writer.take())) == []
    assert news == ["begun", "begun", (wrong, TypeError)]


def test_nothing_of_what_was_taken_is_kept_until_something_is_said_again() -> None:
    writer = FrameWriter(begun, unsaid)
    tracemalloc.start()
    try:
        writer.send(Checked(1, b"x" * 10_000_000))
        assert tracemalloc.get_traced_memory()[0] >= 10_000_000
        assert len(writer.take()) >= 10_000_000
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bytes_of", [framed, written])
def test_a_frame_is_no_larger_than_its_largest_message_or_what_one_is_to_hold(
    bytes_of: Callable[..., bytes],
) -> None:
    sizes = [10, 90_000, 10, 10, 40_000, 40_000, 10]
    messages = [Checked(call, b"x" * size) for call, size in enumerate(sizes)]
    data, come = bytes_of(*messages), []
    buffer, reads = to_daemon_frames(), []
    for at in range(0, len(data), 1_000):
        got = buffer.feed(data[at : at + 1_000])
        come += got
        reads += [len(got)] if got else []
    assert come == messages
    assert reads == [1, 1, 3, 2]


class Piece(bytes):
    """Counts the bytes of others that it is put behind."""

    copied = 0

    def __radd__(self, other: bytes) -> bytes:
        Piece.copied += len(other)
        return bytes(other) + bytes(self)


def test_a_large_frame_in_many_pieces_is_put_together_once_and_what_follows_it_is_heard() -> None:
    Piece.copied = 0
    large, small = Checked(1, b"x" * 300_000), Pong(2)
    data, buffer = pack(large) + pack(small) + pack(large), to_daemon_frames()
    got = [buffer.feed(Piece(data[at : at + 1_000])) for at in range(0, len(data), 1_000)]
    assert [messages for messages in got if messages] == [[large, small], [large]]
    assert not Piece.copied


def test_a_frame_over_the_limit_is_refused_by_its_first_bytes_in_however_many_pieces_they_come() -> None:
    buffer = to_daemon_frames()
    head = pack(Pong(1)) + (1 << 30).to_bytes(4, "big")
    assert [message for at in range(len(head) - 1) for message in buffer.feed(head[at : at + 1])] == [Pong(1)]
    with pytest.raises(IncompatibleError, match="1,073,741,824 bytes"):
        buffer.feed(head[-1:])


async def test_what_a_message_wakes_is_answered_in_the_same_turn_of_the_loop() -> None:
    loop = asyncio.get_running_loop()
    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    link = Link(lambda: None, to_worker_frames(), loop)

    def receive(*messages: Ping) -> None:
        for message in messages:
            loop.call_soon(link.send, Pong(message.number))

    link.receive = receive
    transport, _ = await loop.create_unix_connection(lambda: link, sock=theirs)
    try:
        link.data_received(pack(Ping(1), Ping(2)))
        await asyncio.sleep(0)
        assert to_daemon_frames().feed(mine.recv(1 << 16)) == [Pong(1), Pong(2)]
        link.send(Pong(3))
        await asyncio.sleep(0)
        assert to_daemon_frames().feed(mine.recv(1 << 16)) == [Pong(3)]
    finally:
        transport.close()
        mine.close()


async def test_of_much_that_is_said_in_one_turn_the_first_part_leaves_before_its_end() -> None:
    loop = asyncio.get_running_loop()
    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    link = Link(lambda: None, to_worker_frames(), loop)
    transport, _ = await loop.create_unix_connection(lambda: link, sock=theirs)
    try:
        for number in range(MOST_UNSENT):
            link.send(Pong(number))
        first = to_daemon_frames().feed(mine.recv(1 << 16))
        assert first == [Pong(number) for number in range(MOST_UNSENT)]
        link.send(Pong(-1))
        with pytest.raises(BlockingIOError):
            mine.recv(1 << 16)
        await asyncio.sleep(0)
        assert to_daemon_frames().feed(mine.recv(1 << 16)) == [Pong(-1)]
    finally:
        transport.close()
        mine.close()


def test_what_is_no_array_of_messages_is_refused() -> None:
    body = encoded(Pong(1))
    with pytest.raises(IncompatibleError, match="not understood"):
        to_daemon_frames().feed(len(body).to_bytes(4, "big") + body)
