"""The repository and what is built from it: top level, packaging, version, dependencies."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import wfctl
from support.manpages import FOLDER
from support.source import PACKAGES, ROOT, imports, modules, report

TOP_LEVEL = {
    "pyproject.toml", "wfctl", "daemon", "tests", "samples", "man", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", ".ci",
    ".gitignore",
}  # fmt: skip

# Distribution: the name it is imported by, where that is another.
IMPORT_NAMES = {"python-ulid": "ulid"}


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _tracked() -> list[str] | None:
    """What git has, or None outside a checkout."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return [name for name in done.stdout.split("\0") if name] if done.returncode == 0 and done.stdout else None


def test_the_top_level_holds_what_the_design_says_and_nothing_else() -> None:
    tracked = _tracked()
    if tracked is not None:
        extra = sorted({name.split("/")[0] for name in tracked} - TOP_LEVEL)
        assert not extra, report(extra, "move it into one of the folders there are, or take it out of git")
    missing = sorted(name for name in TOP_LEVEL if not (ROOT / name).exists())
    assert not missing, report(missing, "the design's section 6 lists it at the top")


def test_nothing_that_is_generated_is_in_git() -> None:
    generated = re.compile(
        r"(?:^|/)(?:__pycache__|\.venv|\.wfctl|dist|build|[^/]+\.egg-info|\.\w+_cache)/|\.(?:pyc|db|sock|log)$"
    )
    problems = [name for name in _tracked() or [] if generated.search(name) and not name.startswith("tests/data/")]
    assert not problems, report(problems, "git rm --cached it, and list it in .gitignore")


def test_the_version_is_one() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d\S*)", changelog, re.MULTILINE)
    assert newest is not None, "CHANGELOG.md: begin each release with '## VERSION'"
    versions = {
        "wfctl.__version__": wfctl.__version__,
        "pyproject.toml": _project()["project"]["version"],
        "CHANGELOG.md": newest[1],
    }
    assert len(set(versions.values())) == 1, f"{versions}: write the same version into all three"


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    declared = {_name(text) for text in _project()["project"]["dependencies"]}
    used = {
        found.target.split(".")[0]
        for module in modules().values()
        for found in imports(module)
        if found.target.split(".")[0] not in {*sys.stdlib_module_names, *PACKAGES}
    }
    assert used == {IMPORT_NAMES.get(name, name) for name in declared}, (
        "pyproject.toml: dependencies must be exactly what wfctl and wfd import"
    )


def _name(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return match[0].lower()


def test_typer_stays_below_the_release_that_doubles_the_start() -> None:
    requirement = next(text for text in _project()["project"]["dependencies"] if _name(text) == "typer")
    assert "<0.29" in requirement, "typer 0.29 imports pydantic on every start: keep the upper bound"


def test_the_wheel_is_told_to_hold_both_packages_and_the_manual() -> None:
    wheel = _project()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["wfctl", "daemon/wfd"]
    shared = {
        f"man/{page.name}": f"share/man/man{page.suffix.removeprefix('.')}/{page.name}"
        for page in FOLDER.glob("*.[0-9]")
    }
    assert wheel["shared-data"] == shared, "pyproject.toml, shared-data: install each page of man/ in its section"
    assert _project()["tool"]["hatch"]["build"]["dev-mode-exact"] is True


def test_the_commands_are_where_the_scripts_point() -> None:
    for name, target in _project()["project"]["scripts"].items():
        module, _, function = target.partition(":")
        found = modules().get(module)
        assert found is not None, f"pyproject.toml, scripts: {name} points to {module}, which is not there"
        assert any(getattr(node, "name", None) == function for node in found.tree.body), f"{module} has no {function}"


def test_the_source_archive_holds_what_there_is() -> None:
    listed = _project()["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    missing = [name for name in listed if not (ROOT / name).exists()]
    assert not missing, report(missing, "pyproject.toml, sdist: take it off the list")
    assert {"wfctl", "daemon", "tests", "man"} <= set(listed)


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
def test_a_wheel_holds_both_packages_and_the_manual_and_no_tests(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(file) as wheel:
        names = set(wheel.namelist())
    tops = {name.split("/")[0] for name in names}
    data, info = f"wfctl-{wfctl.__version__}.data", f"wfctl-{wfctl.__version__}.dist-info"
    assert tops == {"wfctl", "wfd", data, info}, "the wheel holds the two packages, the manual and nothing else"
    for top, folder in PACKAGES.items():
        there = {
            f"{top}/{path.relative_to(folder)}"
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert there <= names, f"not in the wheel: {sorted(there - names)}"
    pages = {f"{data}/data/share/man/man{page.suffix[1:]}/{page.name}" for page in FOLDER.glob("*.[0-9]")}
    assert pages <= names, f"not in the wheel: {sorted(pages - names)}"


def test_the_installed_distribution_is_this_one() -> None:
    assert importlib.metadata.version("wfctl") == wfctl.__version__, (
        "pip install -e . again: another version is installed"
    )
