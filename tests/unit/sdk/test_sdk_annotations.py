"""Spelling of types: the daemon must read back exactly what the worker wrote."""

from __future__ import annotations

import datetime
import decimal
import typing
import uuid
from typing import Annotated, Any, Literal

import msgspec
from hypothesis import given, strategies as st

from wfctl.sdk.annotations import spell
from wfctl.values.signature import plain_type

LEAVES = [
    str, int, float, bool, bytes, None, Any, list, dict, tuple, set, frozenset, datetime.datetime, datetime.date,
    datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID,
]  # fmt: skip


def _generic(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda one: list[one]),  # type: ignore[valid-type]
        inner.map(lambda one: tuple[one, ...]),  # type: ignore[valid-type]
        inner.map(lambda one: frozenset[one]),  # type: ignore[valid-type]
        st.tuples(inner, inner).map(lambda two: dict[two]),  # type: ignore[misc,valid-type]
        st.lists(inner, max_size=3).map(lambda many: tuple[tuple(many)]),  # type: ignore[misc]
        st.lists(inner, min_size=2, max_size=3)
        .map(lambda many: typing.Union[tuple(many)])  # noqa: UP007
        .filter(lambda union: union is not type(None)),  # a union of None alone, which Python spells in two ways
    )


@given(st.recursive(st.sampled_from(LEAVES), _generic, max_leaves=6))
def test_a_plain_type_is_read_back_from_its_spelling(annotation: Any) -> None:
    text, plain = spell(annotation)
    assert plain
    back = plain_type(text)
    assert back == annotation or (back is None and annotation is type(None))
    assert spell(back) == (text, True)


class Decimal:
    """Not the standard one."""


class Money(msgspec.Struct):
    amount: float


def test_a_type_of_the_users_is_not_plain_even_under_a_plain_name() -> None:
    assert spell(Decimal) == ("Decimal", False)
    assert spell(Money) == ("Money", False)
    assert spell(list[Money] | None) == ("list[Money] | None", False)
    assert spell(Annotated[int, msgspec.Meta(ge=1)])[1] is False
    assert spell(Literal["a", "b"]) == ("Literal['a', 'b']", False)


def test_the_old_spellings_of_containers_are_the_new_ones() -> None:
    assert spell(typing.List[int]) == ("list[int]", True)  # noqa: UP006
    assert spell(typing.Dict) == ("dict", True)  # noqa: UP006
    assert spell(typing.Optional[str]) == ("str | None", True)  # noqa: UP045
    assert spell(tuple[()]) == ("tuple[()]", True)
