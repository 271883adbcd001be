"""What an import or a command loads, seen from outside in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "asyncio",
    "typer",
    "rich",
    "msgspec",
    "wfd",
    "pydantic",
    "watchfiles",
    "aiosqlite",
    "sqlite3",
    "uvloop",
    "ulid",
}


def _loaded(code: str, cwd: Path | None = None) -> set[str]:
    """The top-level packages and modules in sys.modules after `code`."""
    tell = "import sys, json; print(chr(10) + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WFCTL_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return set(found)


def test_the_public_face_loads_nothing_until_a_name_is_used() -> None:
    heavy = _loaded("import wfctl; wfctl.__version__; dir(wfctl)") & HEAVY
    assert not heavy, f"import wfctl loads {sorted(heavy)}: keep it lazy"


def test_the_face_itself_is_one_module() -> None:
    code = "import sys, wfctl; own = [n for n in sys.modules if n.startswith('wfctl')]; assert own == ['wfctl'], own"
    assert "wfctl" in _loaded(code)


@pytest.mark.parametrize("name", ["Workflow", "Context", "Directive", "RunInfo", "Status", "WfctlError"])
def test_authoring_names_load_no_command_line_and_no_daemon(name: str) -> None:
    heavy = _loaded(f"from wfctl import {name}") & (HEAVY - {"msgspec", "asyncio"})
    assert not heavy, f"from wfctl import {name} loads {sorted(heavy)}"


def test_a_command_that_draws_nothing_loads_no_loop_no_daemon_and_no_rich(tmp_path: Path) -> None:
    (tmp_path / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
    code = "from wfctl.cli.app import execute\nassert execute(['status', '-q']) == 3"
    heavy = _loaded(code, tmp_path) & (HEAVY - {"typer", "msgspec"})
    assert not heavy, f"wfctl status -q loads {sorted(heavy)}: import it where it is needed"


def test_the_entry_point_loads_no_command_before_it_is_typed() -> None:
    code = "import sys, wfctl.cli.app\nassert not [n for n in sys.modules if n.startswith('wfctl.cli.commands.')]"
    heavy = _loaded(code) & (HEAVY - {"typer", "msgspec"})
    assert not heavy, f"wfctl.cli.app loads {sorted(heavy)}"


def test_the_blocking_transport_loads_no_loop() -> None:
    assert "asyncio" not in _loaded("import wfctl.client.blocking")


def test_workers_load_nothing_of_the_daemon_but_themselves() -> None:
    code = """
import sys, wfd.worker.main
own = {name.split('.')[1] for name in sys.modules if name.startswith('wfd.')}
assert own == {'worker'}, own
"""
    heavy = _loaded(code) & {"typer", "rich", "sqlite3", "aiosqlite", "watchfiles", "tomli", "ulid"}
    assert not heavy, f"a worker loads {sorted(heavy)}, which the project's interpreter need not have"
