"""The operations of one step: many of them, each version standing for itself."""

from __future__ import annotations

import random

import msgspec

from wfd.core.state import OpResult, Ops, Stepping, with_result


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
