"""JSON schemas of what handlers take and answer: made where the types are, read where they are not."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest

from wfctl import Context, Directive, Workflow
from wfctl.values import schema
from wfctl.values.signature import HandlerSpec, ParamSpec, TypeSpec


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Line:
    sku: str
    size: Size = Size.SMALL
    parts: list[Line] = field(default_factory=list)


class Order(msgspec.Struct):
    lines: list[Line]
    total: Decimal
    at: datetime | None = None
    kind: Literal["gift", "sale"] = "sale"


class Foreign:
    """Nothing is known of it."""


def specs(workflow: Workflow) -> dict[str, HandlerSpec]:
    """As the catalog has them after their way from a worker."""
    made = [
        msgspec.structs.replace(told, shape=schema.shape_of(told, handler.types, handler.returns))
        for told, handler in zip(workflow.describe().handlers, workflow.handlers, strict=True)
    ]
    return {one.name: msgspec.json.decode(msgspec.json.encode(one), type=HandlerSpec) for one in made}


def test_types_of_the_users_own_are_described_with_what_they_are_made_of() -> None:
    wf = Workflow("Shop")

    @wf.start()
    async def begin(
        ctx: Context, order: Order, note: str | None = None, by_size: dict[str, Size] | None = None
    ) -> Directive:
        return ctx.next.complete()

    @wf.query()
    def lines(ctx: Context, size: Size = Size.SMALL) -> list[Line]:
        return []

    told = specs(wf)
    document = schema.takes(told["begin"])
    assert document["properties"] == {
        "order": {"$ref": "#/$defs/Order"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "by_size": {"anyOf": [{"type": "object", "additionalProperties": {"$ref": "#/$defs/Size"}}, {"type": "null"}]},
    }
    assert (document["required"], document["additionalProperties"]) == (["order"], False)
    assert document["$defs"]["Size"] == {"title": "Size", "enum": ["large", "small"]}
    assert document["$defs"]["Line"]["properties"]["parts"]["items"] == {"$ref": "#/$defs/Line"}
    order = document["$defs"]["Order"]["properties"]
    assert order["total"] == {"type": "string", "format": "decimal"}
    assert order["at"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert order["kind"] == {"enum": ["gift", "sale"], "default": "sale"}
    answer = schema.answers(told["lines"])
    assert answer is not None
    assert (answer["type"], answer["items"]) == ("array", {"$ref": "#/$defs/Line"})
    assert answer["$defs"].keys() == {"Line", "Size"}
    assert told["lines"].told() == "(size: Size = <Size.SMALL: 'small'>) -> list[Line]"


def test_a_pydantic_model_is_described_by_itself() -> None:
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", n=(int, ...))
    model = pydantic.create_model("Model", inner=(inner, ...), names=(list[str], []))
    spec = HandlerSpec("event", "e", "e", (ParamSpec("it", "Model", plain=False), ParamSpec("n", "int")))
    text = schema.shape_of(spec, {"it": model, "n": int}, None)
    document = schema.takes(msgspec.structs.replace(spec, shape=text))
    assert document["properties"]["it"]["properties"]["inner"] == {"$ref": "#/$defs/Inner"}
    assert document["$defs"]["Inner"]["properties"]["n"]["type"] == "integer"


def test_what_no_schema_is_known_of_may_be_anything() -> None:
    @dataclass
    class Holds:
        it: Foreign

    @dataclass
    class Odd:
        it: Any = object()  # noqa: RUF009

    class Angry:
        @classmethod
        def model_json_schema(cls, **_: object) -> object:
            raise RuntimeError("not today")

    types = {"a": Foreign, "b": list[Foreign], "c": Angry, "d": Holds, "e": int, "f": Odd}
    params = tuple(ParamSpec(name, str(of), plain=of is int) for name, of in types.items())
    spec = HandlerSpec("event", "e", "e", params, returns="Angry")
    text = schema.shape_of(spec, types, Angry)
    document = schema.takes(msgspec.structs.replace(spec, shape=text))
    assert document["properties"]["a"] == {"title": "Foreign"}
    assert document["properties"]["b"] == {"type": "array", "items": {"title": "Foreign"}}
    assert document["properties"]["c"] == {"title": params[2].type}
    assert document["$defs"]["Holds"]["properties"]["it"] == {"title": "Foreign"}
    assert document["properties"]["e"] == {"type": "integer"}
    assert document["properties"]["f"] == {"title": params[5].type}
    assert schema.answers(msgspec.structs.replace(spec, shape=text)) == {"title": "Angry"}


def test_a_schema_that_is_too_large_or_was_never_made_leaves_the_names() -> None:
    huge = enum.Enum("huge", {f"name_{n}": "x" * 40 + str(n) for n in range(1_000)})  # type: ignore[misc]
    spec = HandlerSpec(
        "start", "s", "s", (ParamSpec("n", "int"), ParamSpec("it", "Huge", False, "...", plain=False)), extra=True
    )
    assert schema.shape_of(spec, {"n": int, "it": huge}, None) == ""
    assert schema.takes(spec) == {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "it": {"title": "Huge"}},
        "required": ["n"],
        "additionalProperties": True,
    }
    assert schema.answers(spec) is None
    assert schema.answers(msgspec.structs.replace(spec, returns="Money")) == {"title": "Money"}
    assert schema.answers(msgspec.structs.replace(spec, returns="list[int]")) == {
        "type": "array",
        "items": {"type": "integer"},
    }


def test_two_types_of_one_name_are_not_taken_for_each_other() -> None:
    first, second = (msgspec.defstruct("Money", [(name, int)]) for name in ("cents", "euros"))
    spec = HandlerSpec("event", "e", "e", (ParamSpec("a", "Money", plain=False), ParamSpec("b", "Money", plain=False)))
    document = schema.takes(msgspec.structs.replace(spec, shape=schema.shape_of(spec, {"a": first, "b": second}, None)))
    assert document["$defs"]["Money"]["properties"].keys() == {"cents"}
    assert document["properties"] == {"a": {"$ref": "#/$defs/Money"}, "b": {"title": "Money"}}


def test_the_catalog_has_shapes_and_a_listing_only_where_it_is_asked_for() -> None:
    spec = TypeSpec("T", (HandlerSpec("start", "s", "s", shape="{}"), HandlerSpec("step", "t", "t")))
    assert [one.shape for one in spec.plainly().handlers] == ["", ""]
    plain = spec.plainly()
    assert plain.plainly() is plain
