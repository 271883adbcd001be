"""The text of a load: what another process runs that is given it, whatever has become of the files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wfctl.sdk.loader import LoadProblem

SCRIPT = """
import logging, sys, msgspec
from pathlib import Path
from wfctl.sdk.loader import load
from wfctl.sdk.snapshot import Snapshot
from wfctl.sdk.sources import Sources
logging.basicConfig(format="%(message)s")
kept, modules, calls = Path("kept"), ["flows.py"], sys.argv[1:]
given = msgspec.msgpack.decode(kept.read_bytes(), type=Snapshot) if kept.exists() else None
loaded = load(Sources("."), modules, given)
if given is None:
    kept.write_bytes(msgspec.msgpack.encode(loaded.snapshot))
    for save in calls[1:]:
        file, _, text = save.partition("=")
        Path(file).write_text(text)
said = []
if calls and "Order" in loaded.workflows:
    said = [eval(calls[0], vars(sys.modules["flows"]))]
out = [[spec.workflow_type for spec in loaded.specs], loaded.problems, loaded.files, loaded.source_hash, said]
sys.stdout.buffer.write(msgspec.json.encode(out))
"""
FLOW = """
from wfctl import Workflow
{at_once}
wf = Workflow("Order")

@wf.start()
def begin(ctx): ...

def rate():
    {late}
"""


class Ran(msgspec.Struct, array_like=True):
    types: list[str]
    problems: list[LoadProblem]
    files: list[str]
    source_hash: str
    said: list[Any]
    log: str = ""


class Code:
    """A project whose flows.py has a function `rate`. What has been loaded once is loaded from what was kept then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def flow(self, late: str, at_once: str = "") -> None:
        self.write("flows.py", FLOW.format(late=late, at_once=at_once))

    def run(self, *saves: str) -> Ran:
        """Load, save files where this is the first load (`name=text`), and call `rate`."""
        words = [sys.executable, "-P", "-c", SCRIPT, "rate()", *saves]
        done = subprocess.run(words, capture_output=True, cwd=self.folder, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return msgspec.structs.replace(msgspec.json.decode(done.stdout, type=Ran), log=done.stderr.decode())

    def names(self, ran: Ran) -> list[str]:
        return [Path(file).relative_to(self.folder).as_posix() for file in ran.files]


@pytest.fixture
def code(tmp_path: Path) -> Code:
    return Code(tmp_path)


@pytest.mark.parametrize(
    ("late", "module"),
    [
        ("import rates; return rates.VALUE", "rates.py"),
        ("from lib import rates; return rates.VALUE", "lib/rates.py"),
        ("from lib.deep.rates import VALUE; return VALUE", "lib/deep/rates.py"),
    ],
)
@pytest.mark.parametrize("packages", [True, False])
def test_what_a_function_imports_when_it_is_called_is_as_it_was_when_the_code_was_loaded(
    code: Code, late: str, module: str, packages: bool
) -> None:
    code.flow(late)
    code.write(module, "from below import VALUE\n")
    code.write("below.py", "VALUE = 1\n")
    for folder in Path(module).parents[:-1] if packages else []:
        code.write(f"{folder}/__init__.py", "")
    first = code.run("below.py=VALUE = 2\n", f"{module}=VALUE = 3\n")
    assert first.said == [1]
    assert {module, "below.py"} <= set(code.names(first)), "they are watched"
    shutil.rmtree(code.folder / "lib", ignore_errors=True)
    again = code.run()
    assert (again.said, again.source_hash, again.log) == ([1], first.source_hash, "")


def test_a_folder_without_a_file_of_its_own_need_not_be_there_any_more(code: Code) -> None:
    code.flow("return VALUE", at_once="from lib.deep.rates import VALUE")
    code.write("lib/deep/rates.py", "VALUE = 1\n")
    assert code.run().said == [1]
    shutil.rmtree(code.folder / "lib")
    assert code.run().said == [1]


LOADS = (
    "import importlib.util\n"
    "spec = importlib.util.spec_from_file_location('odd', '.rules/rates.py')\n"
    "odd = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(odd)\n"
)


def test_what_is_loaded_by_its_path_is_kept_and_watched_like_what_is_imported(code: Code) -> None:
    code.flow("return odd.VALUE", at_once=LOADS)
    code.write(".rules/rates.py", "VALUE = 1\n")
    first = code.run(".rules/rates.py=VALUE = 2\n")
    assert (first.said, code.names(first)) == ([1], [".rules/rates.py", "flows.py"])
    shutil.rmtree(code.folder / ".rules")
    again = code.run()
    assert (again.said, again.source_hash) == ([1], first.source_hash)


def test_what_is_loaded_by_its_path_and_is_no_python_is_a_problem_with_its_line(code: Code) -> None:
    code.flow("return odd.VALUE", at_once=LOADS)
    code.write(".rules/rates.py", "VALUE = 1\n1 +\n")
    ran = code.run()
    assert [(one.file, one.line) for one in ran.problems] == [(".rules/rates.py", 2)]
    assert ".rules/rates.py" in code.names(ran)


def test_a_module_whose_functions_import_what_is_no_python_is_not_served(code: Code) -> None:
    code.flow("import rates")
    code.write("rates.py", "from below import VALUE\n")
    code.write("below.py", "VALUE = 1\n1 +\n")
    ran = code.run()
    assert ran.types == []
    assert [(one.module, one.file, one.line) for one in ran.problems] == [("flows.py", "below.py", 2)]
    assert ran.problems[0].hint == "correct line 2"


@pytest.mark.parametrize(
    ("late", "at_once"),
    [
        ("try: import rates\n    except SyntaxError: return 1", ""),
        ("return 1", "if False:\n    import rates"),
        ("import more; return 1", ""),
    ],
    ids=["an attempt", "never executed", "not for this interpreter"],
)
def test_what_nobody_may_come_to_import_is_in_nobodys_way_though_it_is_no_python(
    code: Code, late: str, at_once: str
) -> None:
    code.flow(late, at_once)
    code.write("more.py", "import sys\nif sys.version_info > (9, 9):\n    import rates\n")
    code.write("rates.py", "1 +\n")
    ran = code.run()
    assert (ran.types, ran.problems, ran.said) == (["Order"], [], [1])


def test_a_module_that_no_import_statement_names_is_told_of_when_it_is_imported(code: Code) -> None:
    code.flow("import importlib; return importlib.import_module('ra' + 'tes').VALUE")
    code.write("rates.py", "VALUE = 1\n")
    first = code.run("rates.py=VALUE = 2\n")
    assert first.said == [2]
    assert first.log.startswith("rates.py was not read with the other code, as no import statement names it")
