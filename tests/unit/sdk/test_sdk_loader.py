"""Loading the user's modules: what is served, and each thing wrong with file, line and remedy.

Each load runs in a process of its own, as it does for real: it changes sys.path and sys.modules.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wfctl.sdk.loader import LoadProblem
from wfctl.values.signature import TypeSpec

SCRIPT = """
import sys, msgspec
from wfctl.sdk.loader import load
from wfctl.sdk.sources import Sources
project, modules, path = msgspec.json.decode(sys.argv[1])
loaded = load(Sources(project, path), modules)
names = {name: wf.module for name, wf in loaded.workflows.items()}
out = [loaded.specs, loaded.problems, loaded.files, loaded.source_hash, names]
sys.stdout.buffer.write(b"\\x01" + msgspec.json.encode(out))
"""


class Seen(msgspec.Struct, array_like=True):
    specs: list[TypeSpec]
    problems: list[LoadProblem]
    files: list[str]
    source_hash: str
    modules: dict[str, str]

    def problem(self) -> LoadProblem:
        assert len(self.problems) == 1, self.problems
        assert self.problems[0].hint, "a problem names its remedy"
        return self.problems[0]

    @property
    def types(self) -> list[str]:
        return [spec.workflow_type for spec in self.specs]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def load(self, *modules: str, path: tuple[str, ...] = (".",)) -> Seen:
        given = msgspec.json.encode([str(self.folder), list(modules), list(path)]).decode()
        done = subprocess.run(
            [sys.executable, "-P", "-c", SCRIPT, given], capture_output=True, cwd=self.folder, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
        return msgspec.json.decode(done.stdout.rpartition(b"\x01")[2], type=Seen)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def module(workflow_type: str = "Order", more: str = "") -> str:
    return f"""from wfctl import Context, Directive, Workflow
{more}
wf = Workflow({workflow_type!r})

@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.complete()
"""


def test_files_and_dotted_names_are_loaded_with_places_relative_to_the_project(project: Project) -> None:
    project.write("flows/orders.py", module("Order", "import helpers"))
    project.write("helpers.py", "x = 1")
    project.write("billing/__init__.py", "")
    project.write("billing/flows.py", module("Bill", "from . import rates"))
    project.write("billing/rates.py", "")
    seen = project.load("flows/orders.py", "billing.flows")
    assert seen.problems == []
    assert seen.types == ["Order", "Bill"]
    assert (seen.specs[0].file, seen.specs[0].line) == ("flows/orders.py", 3)
    assert seen.specs[0].start.file == "flows/orders.py"
    assert seen.modules == {"Order": "flows.orders", "Bill": "billing.flows"}
    names = [Path(file).relative_to(project.folder).as_posix() for file in seen.files]
    assert names == ["billing/__init__.py", "billing/flows.py", "billing/rates.py", "flows/orders.py", "helpers.py"]


def test_the_source_hash_follows_contents_and_not_the_place(project: Project, tmp_path: Path) -> None:
    project.write("a.py", module())
    first = project.load("a.py").source_hash
    assert len(first) == 12
    assert project.load("a.py").source_hash == first
    project.write("a.py", module() + "\n# edited")
    assert project.load("a.py").source_hash != first
    elsewhere = Project(tmp_path / "copy")
    elsewhere.write("a.py", module())
    assert elsewhere.load("a.py").source_hash == first


def test_an_extra_path_entry_is_importable_and_watched(project: Project) -> None:
    project.write("app/flows.py", module("Order", "import shared"))
    project.write("lib/shared.py", "")
    seen = project.load("app/flows.py", path=("app", "lib"))
    assert seen.problems == []
    assert seen.modules == {"Order": "flows"}
    assert any(file.endswith("lib/shared.py") for file in seen.files)


def test_a_file_whose_folder_is_named_like_a_known_package_is_still_that_file(project: Project) -> None:
    project.write("email/orders.py", module())
    project.write("my-flows/pay.py", module("Pay", "import pickle\nclass C: pass\npickle.loads(pickle.dumps(C()))"))
    seen = project.load("email/orders.py", "my-flows/pay.py")
    assert seen.problems == []
    assert seen.modules["Order"].startswith("wfctl_file_email_orders_")
    assert project.load("email/orders.py").modules["Order"] == seen.modules["Order"]


def test_an_error_of_wfctl_on_import_keeps_its_own_remedy(project: Project) -> None:
    project.write("flows/orders.py", module("Order", "from wfctl import RetryPolicy\nRetryPolicy(attempts=0)"))
    problem = project.load("flows/orders.py").problem()
    assert "attempts is 0" in problem.message
    assert problem.hint == "give a whole number from 1: the first attempt counts"


def test_a_module_named_twice_is_loaded_once(project: Project) -> None:
    project.write("flows/orders.py", module())
    seen = project.load("flows/orders.py", "flows.orders", "./flows/orders.py")
    assert seen.problems == []
    assert seen.types == ["Order"]


def test_a_missing_file_names_the_nearest(project: Project) -> None:
    project.write("flows/orders.py", module())
    seen = project.load("flows/order.py", "flows/orders.py", "flows")
    assert seen.types == ["Order"]
    assert (seen.problems[0].message, seen.problems[0].file) == ("no such file", "flows/order.py")
    assert seen.problems[0].hint == "did you mean flows/orders.py?"
    assert seen.problems[1].message == "no module named 'flows'" or "defines no Workflow" in seen.problems[1].message


def test_a_folder_is_answered_with_its_files(project: Project) -> None:
    project.write("flows/orders.py", module())
    problem = project.load("flows/").problem()
    assert problem.message == "a folder, not a file"
    assert problem.hint == "name its files: flows/orders.py"


def test_a_missing_module_says_where_it_was_looked_for_or_which_file_was_meant(project: Project) -> None:
    project.write("src/billing/flows.py", module())
    problem = project.load("billing.flows").problem()
    assert problem.message.startswith("no module named 'billing'")
    assert problem.hint == 'write "src/billing/flows.py" instead, or add "src/" to path = [...]'
    assert "looked in" in project.load("nowhere.at.all").problem().hint


def test_a_syntax_error_has_file_line_and_text_also_in_an_imported_helper(project: Project) -> None:
    project.write("flows/orders.py", "x = 1\nasync def begin(:\n")
    project.write("flows/bills.py", "import broken")
    project.write("broken.py", "\n\nif True\n")
    seen = project.load("flows/orders.py", "flows/bills.py")
    first, second = seen.problems
    assert (first.file, first.line) == ("flows/orders.py", 2)
    assert first.message.startswith("SyntaxError: ")
    assert first.message.endswith("async def begin(:")
    assert first.hint == "correct line 2"
    assert (second.module, second.file, second.line) == ("flows/bills.py", "broken.py", 3)
    assert len(seen.files) == 3, "an edit of any of them must be noticed"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (b"x = 1\ny = \0\0\0", 2, "a NUL byte: the file is not text, or was only written in part"),
        (b"# -*- coding: foo -*-\n", 1, "unknown encoding: foo"),
        (b"#!/usr/bin/python3\n# vim: set fileencoding=foo :\n", 2, "unknown encoding: foo"),
        (b"# coding: ascii\ny = '\xc3\xa9'\n", 1, "'ascii' codec can't decode"),
    ],
)
def test_a_file_that_is_no_text_is_named_with_its_line_also_where_it_is_a_helper(
    project: Project, text: bytes, line: int, says: str
) -> None:
    (project.folder / "broken.py").write_bytes(text)
    project.write("flows.py", "import broken\n")
    seen = project.load("broken.py", "flows.py")
    assert [problem.module for problem in seen.problems] == ["broken.py", "flows.py"]
    for problem in seen.problems:
        assert (problem.file, problem.line, problem.hint) == ("broken.py", line, f"correct line {line}")
        assert says in problem.message


CANNOT_BE_LOOKED_AT = """
class Proxy:
    @property
    def __class__(self):
        raise RuntimeError("not bound yet")
proxy = Proxy()
"""
IMPORTS_ON_BEING_ASKED = """
import sys
class Lazy:
    def __getattr__(self, name):
        raise ImportError("not installed")
sys.modules["lazy"] = Lazy()
"""


@pytest.mark.parametrize("more", [CANNOT_BE_LOOKED_AT, IMPORTS_ON_BEING_ASKED])
def test_an_object_that_cannot_be_looked_at_is_in_nobodys_way(project: Project, more: str) -> None:
    project.write("flows.py", module("Order", more))
    project.write("bills.py", module("Bill"))
    seen = project.load("flows.py", "bills.py")
    assert seen.problems == []
    assert seen.types == ["Order", "Bill"]


def test_a_docstring_that_cannot_be_sent_is_escaped(project: Project) -> None:
    project.write("flows.py", module().replace("    return", '    """doc \\ud800"""\n    return'))
    seen = project.load("flows.py")
    assert seen.problems == []
    assert seen.specs[0].doc == "doc \\ud800"


@pytest.mark.parametrize("does", ["raise ValueError", "raise SystemExit(3)", "return 3"])
def test_an_exception_that_cannot_be_shown_is_a_problem_of_its_module_alone(project: Project, does: str) -> None:
    project.write("bad.py", f"class E(Exception):\n    def __str__(self):\n        {does}\nraise E\n")
    project.write("good.py", module())
    seen = project.load("bad.py", "good.py")
    assert seen.types == ["Order"]
    assert (seen.problem().module, seen.problem().file, seen.problem().line) == ("bad.py", "bad.py", 4)
    assert seen.problem().message.startswith("E: (its __str__ raised ")


def test_a_type_that_exits_when_it_is_described_is_a_problem_of_its_module_alone(project: Project) -> None:
    meta = "class Meta(type):\n    def __getattribute__(cls, name):\n        raise SystemExit(3)\nclass Odd(metaclass=Meta): ..."
    project.write("bad.py", module("Bad", meta).replace("Context)", "Context, odd: Odd)"))
    project.write("good.py", module())
    seen = project.load("bad.py", "good.py")
    assert seen.types == ["Order"]
    assert [(problem.module, problem.file) for problem in seen.problems] == [("bad.py", "bad.py")]


def test_who_is_imported_is_told_before_it_is(project: Project) -> None:
    project.write("flows.py", module("Order", "import helper, os\nos._exit(3)"))
    project.write("helper.py", "")
    script = SCRIPT.replace("modules)", "modules, about=lambda *told: print(*told, flush=True))")
    given = msgspec.json.encode([str(project.folder), ["flows.py"], ["."]]).decode()
    done = subprocess.run([sys.executable, "-P", "-c", script, given], capture_output=True, check=False, timeout=60)
    flows, helper = project.folder / "flows.py", project.folder / "helper.py"
    assert done.stdout.decode().splitlines() == [
        "flows.py ", f"flows.py {flows}", f"flows.py {helper}", f"flows.py {flows}"
    ]  # fmt: skip


def test_an_exception_names_the_innermost_line_of_the_project(project: Project) -> None:
    project.write("flows/orders.py", "import json\n\ndef rates():\n    return json.loads('{')\n\nrates()\n")
    problem = project.load("flows/orders.py").problem()
    assert (problem.file, problem.line) == ("flows/orders.py", 4)
    assert problem.message.startswith("JSONDecodeError: ")
    assert "flows/orders.py" in problem.traceback
    assert "importlib" not in problem.traceback


def test_a_missing_dependency_names_the_interpreter_to_install_it_for(project: Project) -> None:
    project.write("flows/orders.py", "import no_such_thing_at_all\n")
    project.write("pack/__init__.py", "import no_such_thing_at_all\n")
    project.write("pack/flows.py", module())
    for entry, file in (("flows/orders.py", "flows/orders.py"), ("pack/flows.py", "pack/__init__.py")):
        problem = project.load(entry).problem()
        assert (problem.file, problem.line) == (file, 1)
        assert problem.message == "ModuleNotFoundError: No module named 'no_such_thing_at_all'"
        assert problem.hint.startswith(f"install no_such_thing_at_all for {sys.executable}")


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "import sys; sys.exit('bye')", "raise KeyboardInterrupt"])
def test_a_module_that_ends_itself_is_a_problem_and_not_the_end(project: Project, end: str) -> None:
    project.write("bad.py", f"{end}\n")
    project.write("good.py", module())
    seen = project.load("bad.py", "good.py")
    assert seen.types == ["Order"]
    assert seen.problem().message.startswith("the module ended itself")
    assert (seen.problem().file, seen.problem().line) == ("bad.py", 1)


def test_a_module_without_a_workflow_says_what_to_do(project: Project) -> None:
    project.write("empty.py", "x = 1\n")
    project.write("imports.py", "from orders import wf\n")
    project.write("orders.py", module())
    assert project.load("empty.py").problem().message == "defines no Workflow"
    problem = project.load("imports.py").problem()
    assert problem.hint == "it only imports 'Order' of orders (orders.py:3): name that module instead"


def test_a_module_that_adds_handlers_to_anothers_workflow_needs_none_of_its_own(project: Project) -> None:
    project.write("orders.py", module())
    project.write("steps.py", "from orders import wf\n\n@wf.step()\nasync def pay(ctx): ...\n")
    seen = project.load("orders.py", "steps.py")
    assert seen.problems == []
    assert seen.specs[0].names("step") == ["pay"]


def test_a_workflow_made_by_a_function_belongs_to_the_module_that_keeps_it(project: Project) -> None:
    project.write("factory.py", "from wfctl import Workflow\ndef make(name):\n    wf = Workflow(name)\n"
                  "    @wf.start()\n    async def begin(ctx): ...\n    return wf\n")  # fmt: skip
    project.write("orders.py", "from factory import make\none = make('One')\ntwo = make('Two')\n")
    seen = project.load("orders.py")
    assert seen.problems == []
    assert seen.types == ["One", "Two"]


def test_every_workflow_that_a_module_makes_is_served_whatever_keeps_it(project: Project) -> None:
    def made(at: str, workflow_type: str) -> str:
        return f"{at} = Workflow({workflow_type!r})\n@{at}.start()\ndef begin(ctx): ...\n"

    project.write("library.py", "from wfctl import Workflow\n" + made("w", "Theirs"))
    project.write(
        "flows.py",
        "import library\nfrom wfctl import Workflow\nkept = {}\nclass Shop: pass\n"
        + made("w", "First")
        + made("w", "Second")
        + made("kept['x']", "Third")
        + made("Shop.flow", "Fourth"),
    )
    seen = project.load("flows.py")
    assert seen.problems == []
    assert seen.types == ["First", "Second", "Third", "Fourth"]


def test_a_name_that_is_given_to_a_second_workflow_does_not_hide_that_the_first_is_broken(project: Project) -> None:
    project.write("flows.py", "from wfctl import Workflow\nwf = Workflow('Lost')\n" + module())
    seen = project.load("flows.py")
    assert seen.types == ["Order"]
    assert (seen.problem().line, seen.problem().message) == (2, "workflow 'Lost' has no start handler")


@pytest.mark.parametrize("use", ["from base import wf\n@wf.step()", "import base\n@base.wf.step()"])
def test_handlers_of_a_workflow_whose_module_is_not_listed_name_that_module(project: Project, use: str) -> None:
    project.write("base.py", module())
    project.write("steps.py", f"{use}\ndef pay(ctx): ...\n")
    seen = project.load("steps.py")
    problem = seen.problem()
    assert (seen.types, problem.module, problem.file, problem.line) == ([], "steps.py", "steps.py", 2)
    assert problem.message == (
        "step 'pay' of workflow 'Order': base.py, which defines that workflow, is not among the modules"
    )
    assert problem.hint == 'name it too, as in modules = ["base.py", "steps.py"]'
    assert project.load("steps.py", "base.py").problems == []


def test_handlers_of_a_workflow_that_is_imported_twice_say_under_which_name_it_is_served(project: Project) -> None:
    project.write("src/base.py", module())
    project.write("steps.py", "import base\n@base.wf.step()\ndef pay(ctx): ...\n")
    seen = project.load("src.base", "steps.py", path=(".", "src"))
    assert seen.types == ["Order"]
    assert "src/base.py is imported twice, as 'src.base' and as 'base'" in seen.problem().message
    assert seen.problem().hint == "import it as src.base, or correct path = [...] under [workflows]"


def test_a_workflow_without_a_start_handler_is_a_problem_with_its_line(project: Project) -> None:
    project.write("orders.py", "from wfctl import Workflow\n\nwf = Workflow('Order')\n")
    problem = project.load("orders.py").problem()
    assert (problem.file, problem.line) == ("orders.py", 3)
    assert problem.message == "workflow 'Order' has no start handler"


def test_a_declaration_error_keeps_its_line_and_remedy(project: Project) -> None:
    project.write("orders.py", module() + "\n@wf.step()\nasync def pay(ctx, amount): ...\n")
    problem = project.load("orders.py").problem()
    assert (problem.file, problem.line) == ("orders.py", 9)
    assert problem.message.startswith("step 'pay' of workflow 'Order': a step takes only ctx")
    assert problem.hint.startswith("pass data through ctx.store")


def test_an_unresolvable_annotation_stops_only_its_own_workflow(project: Project) -> None:
    bad = module("Bad").replace("ctx: Context)", "ctx: Context, money: Mony)")
    project.write(
        "flows.py",
        "from __future__ import annotations\n" + bad + module("Good").replace("wf =", "good =").replace("@wf", "@good"),
    )
    seen = project.load("flows.py")
    assert seen.types == ["Good"]
    problem = seen.problem()
    assert (problem.file, problem.line) == ("flows.py", 6)
    assert "annotation 'Mony' of parameter 'money'" in problem.message


def test_two_workflows_of_one_type_name_both_places_and_the_first_is_served(project: Project) -> None:
    project.write("a.py", module())
    project.write("b.py", module())
    seen = project.load("a.py", "b.py")
    assert seen.modules == {"Order": "a"}
    problem = seen.problem()
    assert problem.message == "workflow type 'Order' is defined twice: at a.py:3 and at b.py:3"
    assert (problem.module, problem.file, problem.line) == ("b.py", "b.py", 3)


def test_what_is_neither_file_nor_module_and_a_bad_path_entry_are_problems(project: Project) -> None:
    project.write("notes.txt", "")
    seen = project.load("a b", "./notes.txt", path=(".", "nolib"))
    assert [problem.message for problem in seen.problems] == [
        "a path entry that is no folder",
        "'a b' is neither a file nor a module name",
        "not a Python file",
    ]
    assert all(problem.hint for problem in seen.problems)


def handlers(seen: Seen) -> Any:
    return [(handler.kind, handler.name) for spec in seen.specs for handler in spec.handlers]


def test_the_specifications_own_shape_is_described(project: Project) -> None:
    project.write(
        "flows.py", module("Order", "import dataclasses") + "\n@wf.event(name='paid')\ndef on_paid(ctx): ...\n"
    )
    assert handlers(project.load("flows.py")) == [("start", "begin"), ("event", "paid")]


def test_a_workflow_that_was_given_up_while_it_was_made_is_not_taken_for_the_one_that_is_kept(project: Project) -> None:
    project.write(
        "flows.py",
        "from wfctl import Workflow\n"
        "def make(fancy):\n"
        "    wf = Workflow('A')\n"
        "    @wf.start()\n"
        "    def begin(ctx): ...\n"
        "    if fancy: raise RuntimeError\n"
        "    @wf.step()\n"
        "    def plain(ctx): ...\n"
        "    return wf\n"
        "try: wf = make(True)\n"
        "except RuntimeError: wf = make(False)\n"
        "def probe(): return Workflow('Probe').workflow_type\n"
        "name = probe()\n",
    )
    seen = project.load("flows.py")
    assert seen.problems == []
    assert seen.types == ["A"]
    assert [one.name for one in seen.specs[0].handlers] == ["begin", "plain"]


def test_nothing_that_a_module_has_registered_before_it_failed_is_served(project: Project) -> None:
    project.write("orders.py", module() + "\nmore = []\n")
    extra = "import orders\norders.more = make('Extra')\n\n@orders.wf.event()\ndef paid(ctx): ...\n"
    made = "import wfctl\ndef make(name):\n    wf = wfctl.Workflow(name)\n    @wf.start()\n    def go(ctx): ...\n    return wf\n"
    project.write("paying.py", made + extra + "raise RuntimeError('no bank')\n")
    seen = project.load("orders.py", "paying.py")
    assert handlers(seen) == [("start", "begin")]
    assert (seen.problem().module, seen.problem().message) == ("paying.py", "RuntimeError: no bank")


def test_a_module_that_fails_whenever_it_is_imported_fails_each_time_for_the_same_reason(project: Project) -> None:
    project.write("orders.py", module())
    project.write(
        "paying.py", "import orders\n\n@orders.wf.event()\ndef paid(ctx): ...\nraise RuntimeError('no bank')\n"
    )
    project.write("bills.py", module("Bill", "import paying"))
    seen = project.load("orders.py", "paying.py", "bills.py")
    assert seen.types == ["Order"]
    assert [problem.message for problem in seen.problems] == ["RuntimeError: no bank"] * 2
