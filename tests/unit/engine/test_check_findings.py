"""What a check says: rows for groups of runs, and which modules it loads from where."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wfctl.errors import ConfigError
from wfd.config import Config
from wfd.engine.check import candidate
from wfd.engine.findings import MOST_REASONS, Groups, Place
from wfd.store.needs import Name

PAY = Place("Order", "step", "pay")


def names(*numbers: int) -> list[Name]:
    return [Name(f"R{number}", f"order-{number}") for number in numbers]


def test_equal_findings_are_one_row_with_a_number_and_a_few_runs() -> None:
    groups = Groups(ids=3)
    for number in range(100_000):
        groups.add("replay", PAY, "it differs", names(number), stuck=number % 2)
    (view,) = groups.views()
    assert (view.runs, view.stuck, view.workflow_ids) == (100_000, 50_000, ["order-0", "order-1", "order-2"])
    assert (view.kind, view.workflow_type, view.handler_kind, view.handler) == ("replay", "Order", "step", "pay")


def test_reasons_that_differ_in_arguments_alone_are_one() -> None:
    groups = Groups(ids=5)
    groups.add("replay", PAY, "asked for task 'charge' [3f9c04aa12cd90ef, occurrence 2] at shop.py:3", names(1))
    groups.add("replay", PAY, "asked for task 'charge' [0000000000000000] at shop.py:3", names(2))
    groups.add("replay", PAY, "asked for task 'refund' [0000000000000000] at shop.py:3", names(3))
    assert [view.workflow_ids for view in groups.views()] == [["order-1", "order-2"], ["order-3"]]
    assert "[3f9c04aa12cd90ef, occurrence 2]" in groups.views()[0].reason


def test_reasons_without_end_do_not_make_rows_without_end() -> None:
    groups = Groups(ids=5)
    for number in range(MOST_REASONS + 30):
        groups.add("arguments", PAY, f"{number} is no amount", names(number))
    views = groups.views()
    assert len(views) == MOST_REASONS
    assert sum(view.runs for view in views) == MOST_REASONS + 30


def test_rows_are_in_the_order_of_their_types() -> None:
    groups = Groups(ids=1)
    for workflow_type in ("Parcel", "Order", "Parcel"):
        groups.add("missing", Place(workflow_type), "gone", names(1, 2), runs=7)
    assert [(view.workflow_type, view.runs, view.ids) for view in groups.views()] == [
        ("Order", 7, ["R1"]),
        ("Parcel", 14, ["R1"]),
    ]


# -- what is loaded ----------------------------------------------------------------------------------


def project(folder: Path, modules: tuple[str, ...], path: tuple[str, ...] = (".",)) -> Config:
    return Config(
        project=folder, file=folder / "wfctl.toml", state=folder, socket=folder / "s", workers=1, crash_limit=5, durability="full",
        modules=modules, path=tuple(folder / entry for entry in path), python=Path(sys.executable), reload=False,
        sources={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("modules", "path", "file", "folders"),
    [
        (("shop.py",), (".",), "/new/shop.py", ["/new", "/app"]),
        (("flows/shop.py",), (".",), "/new/flows/shop.py", ["/new", "/app"]),
        (("flows/shop.py",), ("src", "."), "/new/flows/shop.py", ["/new/src", "/new", "/app/src", "/app"]),
        (("flows.shop",), ("src",), "/new/src/flows/shop.py", ["/new/src", "/app/src"]),
        (("shop.py",), (".",), "/app/shop.py", ["/app"]),
        (("shop.py",), (".",), "/app/more/other.py", ["/app"]),
        (("shop.py",), (".",), "/new/other.py", ["/new", "/app"]),
        (("shop.py", "flows/shop.py"), (".",), "/app/flows/shop.py", ["/app"]),
    ],
)
def test_a_file_is_imported_as_the_module_it_is_to_become(
    modules: tuple[str, ...], path: tuple[str, ...], file: str, folders: list[str]
) -> None:
    _, loaded, found = candidate(project(Path("/app"), modules, path), [file])
    assert (loaded, found) == ([file], [Path(folder) for folder in folders])


def test_without_files_the_configuration_is_read_as_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "wfctl.toml").write_text('[workflows]\nmodules = ["one.py", "two.py"]\n')
    config, modules, path = candidate(project(tmp_path, ("one.py",)), [])
    assert (config.project, modules, path) == (tmp_path, ("one.py", "two.py"), (tmp_path,))
    (tmp_path / "wfctl.toml").write_text("[workflows\n")
    with pytest.raises(ConfigError):
        candidate(config, [])
