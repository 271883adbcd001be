"""Pydantic models: what is put can be read, and what would be lost on the way is refused by name."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretBytes, SecretStr, computed_field

from wfctl import InvalidPayloadError
from wfctl.values.codec import convert, decode, encode

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"


class Invoice(BaseModel):
    total: int = Field(alias="grandTotal")
    note: str = Field(default="", serialization_alias="remark", validation_alias="comment")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime
    id: uuid.UUID
    color: Color
    pair: tuple[int, str]
    tags: set[str]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return self.x * 2


class Open(Closed):
    model_config = ConfigDict(extra="allow")


class Aliased(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    total: float = Field(alias="grandTotal")


class Page(BaseModel, Generic[T]):
    items: list[T]


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Score(BaseModel):
    value: float | None = None


class Login(BaseModel):
    user: str
    password: SecretStr | None = None
    key: SecretBytes = SecretBytes(b"")


class Holder(BaseModel):
    logins: dict[str, list[Login]] = {}
    scores: tuple[Score, ...] = ()


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    value: float


class Words(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    value: float


class Told(BaseModel):
    """Its author says how the secret is kept."""

    password: SecretStr

    @pydantic.field_serializer("password", when_used="json")
    def _told(self, value: SecretStr) -> str:
        return value.get_secret_value()


STRICT = Strict(when=datetime(2026, 1, 2, tzinfo=UTC), id=uuid.UUID(int=7), color=Color.RED, pair=(1, "a"), tags={"x"})


@pytest.mark.parametrize(
    "value",
    [
        Invoice(grandTotal=5, comment="late"), STRICT, Closed(x=2), Open.model_validate({"x": 2, "more": [1]}),
        Aliased(grandTotal=1.5), Page[Closed](items=[Closed(x=1)]), Numbers([1, 2]), Told(password=SecretStr("**")),
        Login(user="u", password=SecretStr("")), Score(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_model_that_is_put_can_be_read(value: Any) -> None:
    kind = type(value)
    assert convert(decode(encode(value, "value")), kind, "value") == value
    inside = {"deep": [value]}
    assert convert(decode(encode(inside, "value")), dict[str, list[kind]], "value") == inside  # type: ignore[valid-type]


def test_a_computed_field_is_kept_for_other_readers_where_the_model_lets_it_pass() -> None:
    class Area(BaseModel):
        side: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def size(self) -> int:
            return self.side**2

    data = decode(encode(Area(side=3), "value"))
    assert data == {"side": 3, "size": 9}
    assert convert(data, Area, "value") == Area(side=3)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Login(user="u", password=SecretStr("hunter2")), r"value: Login.password is a SecretStr, of which only asterisks"),
        (Login(user="u", key=SecretBytes(b"k")), r"value: Login.key is a SecretBytes, of which only asterisks"),
        (
            Holder(logins={"a": [Login(user="u", password=SecretStr("x"))]}),
            r"value: Holder.logins\['a'\]\[0\].password is a SecretStr",
        ),
        (Loose.model_validate({"extra": SecretStr("x")}), r"value: Loose.extra is a SecretStr"),
        (Score(value=float("nan")), r"value: Score.value is nan, which JSON cannot hold"),
        (Holder(scores=(Score(), Score(value=float("-inf")))), r"value: Holder.scores\[1\].value is -inf, which JSON"),
        (Words(value=float("nan")), r"value: Words.value is nan, which JSON cannot hold"),
        (Constants(value=float("inf")), r"value: Constants.value is inf, which JSON cannot hold"),
        (pydantic.RootModel[list[float]]([1.0, float("nan")]), r"\[1\] is nan, which JSON cannot hold"),
    ],
)  # fmt: skip
def test_what_a_models_json_does_not_tell_is_refused_by_name(value: BaseModel, told: str) -> None:
    for given in (value, [value], {"a": value}):
        with pytest.raises(InvalidPayloadError, match=told) as caught:
            encode(given, "value")
        assert caught.value.hint is None or "secret" in caught.value.hint
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({"grandTotal": 5, "comment": "late"}, Invoice(grandTotal=5, comment="late")),
        # As it was stored before.
        ({"total": 5, "note": "late"}, Invoice(grandTotal=5, comment="late")),
        ({"user": "u", "password": "**********", "key": ""}, Login(user="u", password=SecretStr("*" * 10))),
    ],
)
def test_what_others_send_and_what_was_stored_before_is_read(data: dict[str, Any], value: BaseModel) -> None:
    assert convert(data, type(value), "value") == value


def test_what_does_not_fit_a_model_is_refused_with_its_own_words() -> None:
    with pytest.raises(InvalidPayloadError, match=r"1 validation error for Closed\nx\n"):
        convert({"x": "much"}, Closed, "value")
    with pytest.raises(InvalidPayloadError, match="Extra inputs are not permitted"):
        convert({"x": 1, "y": 2}, Closed, "value")
    assert msgspec.json.decode(encode(Closed(x=1), "value")) == {"x": 1}
