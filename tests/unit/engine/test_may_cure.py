"""Which stuck runs are tried again on other code."""

from __future__ import annotations

from wfctl.values.signature import HandlerSpec, ParamSpec, TypeSpec
from wfd.engine.code import may_cure
from wfd.supervisor import Catalog, Generation

AMOUNT = ParamSpec("amount", "float")


def order(*events: HandlerSpec) -> TypeSpec:
    return TypeSpec("Order", (HandlerSpec("start", "begin", "begin"), *events))


PAYMENT = TypeSpec("Payment", (HandlerSpec("start", "pay", "pay"),))
PAID = HandlerSpec("event", "paid", "on_paid", (AMOUNT,))


def catalog(number: int, versions: dict[str, str], *types: TypeSpec, python: str = "python3") -> Catalog:
    generation = Generation(number, {spec.workflow_type: spec for spec in types}, python=python, versions=versions)
    return Catalog(number, generation.types, owners=dict.fromkeys(generation.types, generation))


BEFORE = catalog(1, {"Order": "a", "Payment": "b"}, order(PAID), PAYMENT)


def test_code_that_was_only_loaded_again_cures_nothing() -> None:
    assert may_cure(BEFORE, catalog(2, {"Order": "a", "Payment": "b"}, order(PAID), PAYMENT)) == set()


def test_other_code_of_a_type_may_cure_the_runs_of_that_type() -> None:
    assert may_cure(BEFORE, catalog(2, {"Order": "a", "Payment": "c"}, order(PAID), PAYMENT)) == {"Payment"}


def test_a_handler_that_is_back_or_takes_other_parameters_may_cure_runs_of_any_type() -> None:
    without = catalog(2, {"Order": "c", "Payment": "b"}, order(), PAYMENT)
    assert may_cure(BEFORE, without) == {"Order"}
    assert may_cure(without, catalog(3, {"Order": "a", "Payment": "b"}, order(PAID), PAYMENT)) is None
    other = HandlerSpec("event", "paid", "on_paid", (AMOUNT, ParamSpec("currency", "str")))
    assert may_cure(BEFORE, catalog(2, {"Order": "d", "Payment": "b"}, order(other), PAYMENT)) is None


def test_another_interpreter_may_cure_every_run() -> None:
    after = catalog(2, {"Order": "a", "Payment": "b"}, order(PAID), PAYMENT, python="/opt/python3.13")
    assert may_cure(BEFORE, after) == {"Order", "Payment"}


def test_what_has_no_hash_of_its_own_is_other_code_with_each_load() -> None:
    assert may_cure(catalog(1, {}, PAYMENT), catalog(2, {}, PAYMENT)) == {"Payment"}
