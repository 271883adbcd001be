"""Content keys: operations find their records by what they are, whatever order they are asked in."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st

from support.memory_port import Recorded
from wfctl.sdk.replay import Replay, first_key
from wfctl.values import codec
from wfctl.values.codec import canonical
from wfctl.values.opkeys import in_words

Call = tuple[str, str, Any]

calls = st.tuples(
    st.sampled_from(["child", "event", "parent_event"]),
    st.sampled_from(["a", "b:c", ""]),
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 2), max_size=2),
)


def key_of(replay: Replay[Recorded], call: Call) -> str:
    kind, name, arguments = call
    return replay.key(replay.base(kind, name, canonical(arguments)))


def interleavings(draw: Any, first: list[Call], second: list[Call]) -> list[tuple[int, Call]]:
    left = [[(0, call) for call in first], [(1, call) for call in second]]
    merged = []
    while left[0] or left[1]:
        side = draw(st.sampled_from([side for side in (0, 1) if left[side]]))
        merged.append(left[side].pop(0))
    return merged


@given(st.data())
def test_two_branches_of_distinct_operations_find_their_records_in_any_interleaving(data: st.DataObject) -> None:
    first = data.draw(st.lists(calls, max_size=5))
    second = [call for call in data.draw(st.lists(calls, max_size=5)) if call not in first]
    recording: Replay[Recorded] = Replay()
    asked = interleavings(data.draw, first, second)
    records = [Recorded(key_of(recording, call), json.dumps([side, call]).encode()) for side, call in asked]
    replay = Replay.of(records)
    for side, call in interleavings(data.draw, first, second):
        record = replay.take(key_of(replay, call))
        assert record is not None
        assert json.loads(record.value) == [side, [call[0], call[1], call[2]]]
    assert not replay.unasked


@given(st.lists(calls, max_size=8), st.data())
def test_what_was_recorded_before_a_cut_is_found_and_the_rest_is_new(asked: list[Call], data: st.DataObject) -> None:
    recording: Replay[Recorded] = Replay()
    records = [Recorded(key_of(recording, call)) for call in asked]
    cut = data.draw(st.integers(0, len(records)))
    replay = Replay.of(records[:cut])
    found = [replay.take(key_of(replay, call)) for call in asked]
    assert found == [*records[:cut], *([None] * (len(asked) - cut))]
    assert not replay.unasked


def test_argument_order_does_not_matter_and_argument_values_do() -> None:
    replay: Replay[Recorded] = Replay()
    assert key_of(replay, ("event", "e", {"a": 1, "b": 2})).endswith(":0")
    assert key_of(replay, ("event", "e", {"b": 2, "a": 1})).endswith(":1")
    assert key_of(replay, ("event", "e", {"a": 2, "b": 1})).endswith(":0")


SETS = """if True:
    import enum, sys
    from dataclasses import dataclass
    import msgspec
    from pydantic import BaseModel
    from wfctl.values.codec import canonical

    class Color(enum.Enum):
        RED = "red"
        BLUE = "blue"
        GREEN = "green"
        BLACK = "black"

    @dataclass(frozen=True)
    class Point:
        x: str
        tags: frozenset[str] = frozenset()

    class Item(msgspec.Struct, frozen=True, rename="camel"):
        its_tags: set[str]

    class Order(BaseModel):
        tags: set[str]
        colors: dict[str, list[set[Color]]] = {}

    some = set("abcdefgh")
    values = [
        some, {1.5, 2, 10}, {(1, "x"), (1, "y")}, set(Color), {Point("b"), Point("a"), Point("c")}, {"a", 1, None},
        {frozenset("ab"), frozenset("c"), frozenset("de")}, {("a", None), ("a", "x"), ("b", "y")}, Point("a", frozenset("abcd")),
        Item(some), Order(tags=some, colors={"a": [set(Color)]}), {"deep": [(Point("a", frozenset("abc")),)]},
    ]
    sys.stdout.buffer.write(b"".join(canonical(value) + bytes([10]) for value in values))
"""


def test_a_set_is_the_same_content_in_a_process_that_shuffles_it_otherwise() -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", SETS], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout.decode()
        for seed in ("1", "2", "3", "4")
    }
    assert len(seen) == 1
    assert seen.pop().splitlines() == [
        # As they were before the order of the others was settled too: histories of then hold its hashes.
        '["a","b","c","d","e","f","g","h"]',
        "[1.5,2,10]",
        '[[1,"x"],[1,"y"]]',
        '["black","blue","green","red"]',
        '[{"tags":[],"x":"a"},{"tags":[],"x":"b"},{"tags":[],"x":"c"}]',
        '["a",1,null]',
        '[["a","b"],["c"],["d","e"]]',
        '[["a","x"],["a",null],["b","y"]]',
        '{"tags":["a","b","c","d"],"x":"a"}',
        '{"itsTags":["a","b","c","d","e","f","g","h"]}',
        '{"colors":{"a":[["black","blue","green","red"]]},"tags":["a","b","c","d","e","f","g","h"]}',
        '{"deep":[[{"tags":["a","b","c"],"x":"a"}]]}',
    ]


def test_records_not_asked_for_are_listed_in_their_order() -> None:
    records = [Recorded("child:A:0011223344556677:0"), Recorded("now::0011223344556677:0")]
    replay = Replay.of(records)
    assert list(replay.unasked.values()) == records
    assert replay.take("child:A:0011223344556677:0") is records[0]
    assert replay.take("child:A:0011223344556677:0") is None
    assert list(replay.unasked.values()) == records[1:]


def test_clean_up_after_a_cancellation_has_records_of_its_own() -> None:
    recording: Replay[Recorded] = Replay()
    before = recording.key(recording.base("event", "e", b"{}"))
    recording.cleaning()
    after = recording.key(recording.base("event", "e", b"{}"))
    assert after == f"~{before}"
    replay = Replay.of([Recorded(before), Recorded(after)])
    assert not replay.caught_up
    replay.take(before)
    assert replay.caught_up
    assert replay.unasked


@given(st.binary(max_size=200))
def test_a_key_holds_the_sha_256_of_its_content_whichever_code_works_it_out(content: bytes) -> None:
    assert Replay().base("event", "e", content) == f"event:e:{hashlib.sha256(content).hexdigest()[:16]}"


def test_keys_are_told_in_words() -> None:
    assert in_words("child:Payment:3f9c04aa12cd90ef:0") == "start of child workflow 'Payment' [3f9c04aa12cd90ef]"
    assert in_words("~event:a:b:3f9c04aa12cd90ef:2") == "event 'a:b' [3f9c04aa12cd90ef, occurrence 3]"
    assert in_words("now::3f9c04aa12cd90ef:0") == "ctx.now() [3f9c04aa12cd90ef]"
    assert in_words("task:charge:3f9c04aa12cd90ef:0") == "task 'charge' [3f9c04aa12cd90ef]"
    assert in_words("child_result:kid:3f9c04aa12cd90ef:0") == "handle.result() of 'kid' [3f9c04aa12cd90ef]"


def test_each_part_of_an_argument_is_gone_through_once_however_deep_its_sets_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []
    settled = codec._settled

    def counted(value: object) -> object:
        seen.append(value)
        return settled(value)

    monkeypatch.setattr(codec, "_settled", counted)
    value: object = {"b", "a"}
    for _ in range(12):
        value = {"first": [value], "then": [1, 2]}
    assert b'{"first":[["a","b"]],"then":[1,2]}' in canonical(value)
    assert len(seen) < 100


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pay", "begin.<locals>.pay"]),
            st.sampled_from([b"1", b"2"]),
            st.sampled_from(["", "a", "b"]),
        )
    ),
    st.integers(0, 10),
)
def test_where_nothing_is_recorded_keys_are_those_of_a_replay_which_may_go_on_at_any_of_them(
    asked: list[tuple[str, bytes, str]], at: int
) -> None:
    plain, seen = Replay[Recorded](), dict[str, int]()
    going_on = Replay[Recorded](_seen=seen)
    for place, (name, content, branch) in enumerate(asked):
        expected = plain.fresh_key(plain.base("task", name, content), branch)
        if place < at:
            assert first_key(seen, "task", name, content, branch) == expected
        else:
            assert going_on.fresh_key(going_on.base("task", name, content), branch) == expected
