"""The operations of one step: many of them, each version standing for itself."""

from __future__ import annotations

import random

import msgspec

from wfd.core import stimuli as s
from wfd.core.decide import decide, open_run
from wfd.core.records import ChildStarted
from wfd.core.state import OpResult, Ops, Raw, Stepping, dump, with_result


def test_operations_are_as_a_dict_of_them_would_be_whatever_comes_after() -> None:
    chance = random.Random(4)
    step, plain = Stepping(1, "start", "begin", 2), dict[str, OpResult]()
    earlier: list[tuple[Stepping, dict[str, OpResult]]] = []
    for number in range(500):
        result = OpResult(f"task:{chance.randrange(300)}", attempts=number)
        earlier.append((step, plain))
        step, plain = with_result(step, result), {**plain, result.key: result}
    for before, expected in (*earlier[::17], (step, plain)):
        assert (list(before.ops.items()), len(before.ops), bool(before.ops)) == (
            list(expected.items()), len(expected), bool(expected)
        )  # fmt: skip
        assert before.ops == expected
        assert before.ops.get("task:300") is None
        assert all(before.ops.get(key) is op for key, op in expected.items())


def test_another_operation_costs_no_copy_of_all_before() -> None:
    many = {f"task:{number}": OpResult(f"task:{number}") for number in range(10_000)}
    step = msgspec.structs.replace(Stepping(1, "start", "begin", 2), ops=many)
    with_one = with_result(step, OpResult("task:new"))
    assert isinstance(with_one.ops, Ops)
    assert with_one.ops._others is many


def test_operations_are_no_part_of_what_is_saved_of_a_run_nor_is_what_its_start_was_given() -> None:
    run = open_run(
        key=1, run_id="R1", workflow_id="w", workflow_type="W", handler="begin", input=Raw(b'{"of":"start"}'),
        timeout_ms=None, parent=None, now=1_000,
    ).run  # fmt: skip
    run = decide(run, s.OperationAsked(1, 1, ChildStarted("child:1", "R2", "child", "C")), 1_000).run
    stuck = decide(run, s.StepUnfit(1, 1, "no such handler"), 1_000).run
    step = '{"phase":"stepping","step":1,"kind":"start","handler":"begin","since":2}'
    counts = '"steps":1,"handler":"begin","children":1,"open_children":1}'
    assert dump(run) == f'{{"phase":{step},{counts}'
    assert dump(stuck) == (
        f'{{"phase":{{"phase":"stuck","reason":"no such handler","resume":{step},"since_at":1000}},{counts}'
    )
