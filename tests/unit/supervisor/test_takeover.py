"""What is told of code that has been loaded: which of two workflows is served, and where a problem is."""

from __future__ import annotations

import pytest

from wfctl.protocol.channel import Problem
from wfctl.values.signature import HandlerSpec, TypeSpec
from wfd.supervisor.catalog import Catalog, Generation
from wfd.supervisor.takeover import named, take_over

TWICE = Problem("bills.py", "workflow type 'Bill' is defined twice: at flows.py:3 and at bills.py:5", twice="Bill")
ENTRIES = ["flows.py", "bills.py"]


def generation(number: int, file: str) -> Generation:
    spec = TypeSpec("Bill", (HandlerSpec("start", "begin", "begin"),), file=file)
    return Generation(number, {"Bill": spec}, modules={file: ["Bill"]}, versions={"Bill": f"{file} {number}"})


def after(before: Catalog) -> str:
    (problem,) = take_over(before, generation(2, "flows.py"), (TWICE,), ENTRIES).catalog.problems
    return problem.message.removeprefix(TWICE.message)


def test_of_two_workflows_of_one_type_that_is_named_which_is_served() -> None:
    first = take_over(Catalog(), generation(1, "bills.py"), (), ENTRIES).catalog
    assert after(Catalog()) == "; that of flows.py is served"
    assert after(first) == "; that of bills.py as it was loaded before is served"


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem("billing.flows", "", "billing/rates.py", 3), "billing/rates.py:3 (module billing.flows)"),
        (Problem("billing.flows", "", "billing/flows.py"), "billing/flows.py (module billing.flows)"),
        (Problem("bills.py", "", "bills.py", 3), "bills.py:3"),
        (Problem("billing.flows", ""), "billing.flows"),
    ],
)
def test_a_problem_is_logged_with_its_place_and_its_module_as_the_configuration_spells_it(
    problem: Problem, expected: str
) -> None:
    assert named(problem) == expected
