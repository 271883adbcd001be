"""`wfctl.toml`: what it gives, and what is said about one that is wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from wfctl.errors import ConfigError
from wfctl.values.project import socket_path
from wfctl.values.status import Status
from wfd.config import Config, load
from wfd.engine.executions import CRASH_LIMIT

MINIMAL = '[workflows]\nmodules = ["flows.py"]\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WFCTL_SOCKET", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return tmp_path


def write(project: Path, text: str) -> Path:
    file = project / "wfctl.toml"
    file.write_text(text)
    return file


def refused(project: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(project, text))
    assert caught.value.code == "config"
    assert caught.value.exit_status == 2
    return caught.value.message


def test_durability_can_be_relaxed(project: Path) -> None:
    config = load(write(project, '[daemon]\ndurability = "normal"\n' + MINIMAL))
    assert (config.durability, config.described()["durability"]) == ("normal", "normal (wfctl.toml)")
    assert load(write(project, MINIMAL)).durability == "full"


def test_runs_are_kept_as_long_as_is_said_for_their_status(project: Path) -> None:
    config = load(write(project, '[retention]\ncompleted = "30d"\ntimed_out = "1d12h"\n' + MINIMAL))
    assert config.retention == {Status.COMPLETED: 30 * 86_400_000, Status.TIMED_OUT: 36 * 3_600_000}
    assert config.described()["retention"] == "completed 30d, timed_out 1d12h (wfctl.toml)"
    assert load(write(project, MINIMAL)).described()["retention"] == "keep all (default)"


def test_a_retention_that_is_no_time_is_refused(project: Path) -> None:
    said = refused(
        project, '[retention]\ncompleted = 30\nfailed = "soon"\ncancelled = "0d"\nrunning = "1d"\n' + MINIMAL
    )
    assert 'wfctl.toml:2: completed must be a time to keep runs for, as "30d", not the number 30' in said
    assert "wfctl.toml:3: failed must be a time to keep runs for, as \"30d\", not the text 'soon'" in said
    assert "wfctl.toml:4: cancelled must be" in said
    assert "wfctl.toml:5: unknown key 'running' in [retention]; known are completed, failed" in said


def test_a_minimal_file_gets_the_defaults(project: Path) -> None:
    config = load(write(project, MINIMAL))
    assert config.project == project
    assert config.state == project / ".wfctl"
    assert config.database == project / ".wfctl" / "wfctl.db"
    assert config.lock == project / ".wfctl" / "lock"
    assert config.log == project / ".wfctl" / "wfd.log"
    assert (config.workers, config.modules, config.path, config.reload) == (2, ("flows.py",), (project,), True)
    assert config.crash_limit == CRASH_LIMIT
    assert config.python == Path(sys.executable)
    assert config.socket == project / ".wfctl" / "wfd.sock"


def test_every_setting_tells_who_set_it(project: Path) -> None:
    config = load(write(project, "[daemon]\nworkers = 5\n" + MINIMAL))
    assert config.sources == {
        "state": "default",
        "workers": "wfctl.toml",
        "crash_limit": "default",
        "durability": "default",
        "modules": "wfctl.toml",
        "path": "default",
        "python": "default",
        "reload": "default",
        "limits": "default",
        "socket": "default",
        "retention": "default",
    }
    assert config.described()["workers"] == "5 (wfctl.toml)"
    assert config.described()["crash_limit"] == "5 (default)"
    assert set(config.described()) == set(config.sources)


def test_a_project_may_say_how_often_a_step_may_end_its_worker(project: Path) -> None:
    config = load(write(project, "[daemon]\ncrash_limit = 1\n" + MINIMAL))
    assert (config.crash_limit, config.described()["crash_limit"]) == (1, "1 (wfctl.toml)")


def test_the_socket_may_be_named_by_the_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFCTL_SOCKET", str(project / "other.sock"))
    config = load(write(project, MINIMAL))
    assert (config.socket, config.sources["socket"]) == (project / "other.sock", "WFCTL_SOCKET")


def test_a_socket_path_that_is_too_long_is_refused_with_both_sizes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFCTL_SOCKET", "/tmp/" + "x" * 120)
    assert "125 bytes; at most 100" in refused(project, MINIMAL)


def test_paths_are_relative_to_the_project_and_a_link_to_python_is_kept(project: Path) -> None:
    (project / "bin").mkdir()
    (project / "bin" / "python").symlink_to(sys.executable)
    config = load(
        write(project, MINIMAL + 'path = ["src", "/abs"]\npython = "bin/python"\n[daemon]\nstate = "var/../state"\n')
    )
    assert config.path == (project / "src", Path("/abs"))
    assert config.python == project / "bin" / "python"
    assert config.state == project / "state"


def test_a_bare_python_is_looked_for_on_the_path(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project / "somewhere"
    folder.mkdir()
    (folder / "python-of-ours").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(folder))
    config = load(write(project, MINIMAL + 'python = "python-of-ours"\n'))
    assert config.python == folder / "python-of-ours"


def test_a_module_file_that_does_not_exist_is_no_error(project: Path) -> None:
    assert load(write(project, '[workflows]\nmodules = ["gone.py"]\n')).modules == ("gone.py",)


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_one(project: Path) -> None:
    message = refused(project, "# mine\n\n[daemon]\nworker = 3\n" + MINIMAL)
    assert message == "wfctl.toml:4: unknown key 'worker' in [daemon]; did you mean 'workers'?"


def test_a_key_in_the_wrong_table_is_sent_to_the_right_one(project: Path) -> None:
    message = refused(project, MINIMAL + "workers = 3\n")
    assert message == "wfctl.toml:3: unknown key 'workers' in [workflows]; it belongs in [daemon]"


def test_a_key_outside_any_table_is_sent_to_its_table(project: Path) -> None:
    message = refused(project, "workers = 3\n" + MINIMAL)
    assert message == "wfctl.toml:1: unknown key 'workers' outside any table; it belongs in [daemon]"


def test_an_unknown_table_is_named_with_its_line_and_the_nearest_one(project: Path) -> None:
    message = refused(project, MINIMAL + "\n[deamon]\nworkers = 3\n")
    assert message == "wfctl.toml:4: unknown table [deamon]; did you mean [daemon]?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[daemon]\nworkers = "two"\n', "wfctl.toml:2: workers must be a number, not the text 'two'"),
        ("[daemon]\nworkers = true\n", "wfctl.toml:2: workers must be a number, not true"),
        ("[daemon]\nworkers = 2.5\n", "wfctl.toml:2: workers must be a whole number, not 2.5"),
        ("[daemon]\nworkers = 0\n", "wfctl.toml:2: workers must be from 1 to 64, not 0"),
        ("[daemon]\nworkers = 65\n", "wfctl.toml:2: workers must be from 1 to 64, not 65"),
        ("[daemon]\ncrash_limit = 0\n", "wfctl.toml:2: crash_limit must be from 1 to 100, not 0"),
        (
            '[daemon]\ndurability = "ful"\n',
            "wfctl.toml:2: durability must be \"full\" or \"normal\", not the text 'ful'; did you mean 'full'?",
        ),
        ("[daemon]\ndurability = true\n", 'wfctl.toml:2: durability must be "full" or "normal", not true'),
        ("[daemon]\ncrash_limit = 101\n", "wfctl.toml:2: crash_limit must be from 1 to 100, not 101"),
        ('[daemon]\ncrash_limit = "no"\n', "wfctl.toml:2: crash_limit must be a number, not the text 'no'"),
        ("[daemon]\nstate = 3\n", "wfctl.toml:2: state must be a path, not the number 3"),
        ('[daemon]\nstate = ""\n', "wfctl.toml:2: state must be a path, not the text ''"),
        ("daemon = 3\n", "wfctl.toml:1: daemon must be a table, not the number 3; write [daemon]"),
        ("daemon.workers = 0\n", "wfctl.toml:1: workers must be from 1 to 64, not 0"),
        ("daemon = {workers = 0}\n", "wfctl.toml:1: workers must be from 1 to 64, not 0"),
        (
            "[daemon]\nlog.level = 3\n",
            "wfctl.toml:2: unknown key 'log' in [daemon]; known are state, workers, crash_limit, durability",
        ),
        (
            "[daemon.colour]\nred = 3\n",
            "wfctl.toml:1: unknown key 'colour' in [daemon]; known are state, workers, crash_limit, durability",
        ),
        (
            "[daemon]\ncrashlimit = 3\n",
            "wfctl.toml:2: unknown key 'crashlimit' in [daemon]; did you mean 'crash_limit'?",
        ),
        (
            '[retention]\ncomplete = "30d"\n',
            "wfctl.toml:2: unknown key 'complete' in [retention]; did you mean 'completed'?",
        ),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(project: Path, text: str, expected: str) -> None:
    assert refused(project, text + MINIMAL) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 'wfctl.toml: no modules; write modules = ["flows.py"] under [workflows]'),
        ("\n[workflows]\n", 'wfctl.toml:2: no modules; write modules = ["flows.py"] under [workflows]'),
        (
            "[workflows]\nmodules = []\n",
            'wfctl.toml:2: modules is empty; name at least one file, as in ["flows.py"]',
        ),
        (
            '[workflows]\nmodules = "a.py"\n',
            "wfctl.toml:2: modules must be a list, not the text 'a.py'; write modules = [\"a.py\"]",
        ),
        (
            '[workflows]\nmodules = ["a.py", 3]\n',
            "wfctl.toml:2: modules must hold names and paths; it holds the number 3",
        ),
        (
            '[workflows]\nmodules = ["a.py", "b.py", "a.py"]\n',
            "wfctl.toml:2: modules names 'a.py' more than once; remove one",
        ),
        (MINIMAL + "reload = 1\n", "wfctl.toml:3: reload must be true or false, not the number 1"),
        (MINIMAL + "path = 1\n", 'wfctl.toml:3: path must be a list, not the number 1; write path = ["..."]'),
    ],
)
def test_what_workflows_cannot_be_is_named_with_its_line(project: Path, text: str, expected: str) -> None:
    assert refused(project, text) == expected


@pytest.mark.parametrize(
    ("modules", "first", "second"),
    [
        ('"flows/orders.py", "flows.orders"', "flows/orders.py", "flows.orders"),
        ('"flows.orders", "./flows/orders.py"', "flows.orders", "./flows/orders.py"),
        ('"orders", "flows/orders.py"', "orders", "flows/orders.py"),
        ('"shop", "shop/__init__.py"', "shop", "shop/__init__.py"),
    ],
)
def test_one_module_that_is_spelled_in_two_ways_is_refused(
    project: Path, modules: str, first: str, second: str
) -> None:
    for name in ("flows/orders.py", "shop/__init__.py"):
        (project / name).parent.mkdir()
        (project / name).write_text("")
    text = f'[workflows]\nmodules = [{modules}, "bills.py", "nowhere"]\npath = [".", "flows"]\n'
    assert refused(project, text) == f"wfctl.toml:2: modules names one module as {first!r} and {second!r}; remove one"


def test_a_missing_python_is_named_with_where_it_was_looked_for(project: Path) -> None:
    message = refused(project, MINIMAL + 'python = ".venv/bin/python"\n')
    assert message.startswith(
        f"wfctl.toml:3: python '.venv/bin/python' does not exist ({project / '.venv/bin/python'}); "
    )


def test_a_python_that_is_not_executable_is_refused(project: Path) -> None:
    (project / "notes").write_text("")
    assert "python './notes' is not executable" in refused(project, MINIMAL + 'python = "./notes"\n')


def test_all_problems_are_told_at_once_in_the_order_of_their_lines(project: Path) -> None:
    file = write(project, "[daemon]\nworkers = 0\nstat = 1\n[workflows]\nreload = 3\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    problems = caught.value.detail["problems"]
    assert [problem.split(":")[1] for problem in problems] == ["2", "3", "4", "5"]
    assert all(problem in caught.value.message for problem in problems)


def test_broken_toml_is_named_with_line_and_column(project: Path) -> None:
    assert refused(project, "[daemon]\nworkers = \n").startswith("wfctl.toml:2:11: ")


def test_a_file_that_is_not_utf8_is_named_with_its_line(project: Path) -> None:
    file = project / "wfctl.toml"
    file.write_bytes(b"[daemon]\nstate = '\xff'\n")
    with pytest.raises(ConfigError, match=r"wfctl.toml:2: not UTF-8"):
        load(file)


def test_a_mark_of_utf8_at_the_front_is_passed_over(project: Path) -> None:
    file = project / "wfctl.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(file).modules == ("flows.py",)
    file.write_bytes(b"\xef\xbb\xbf[daemon]\nworkers = 0\n" + MINIMAL.encode())
    assert refused(project, file.read_text()).startswith("wfctl.toml:2: workers must be from 1")


def test_a_file_that_cannot_be_read_is_named(project: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(project)


def test_a_configuration_cannot_be_changed(project: Path) -> None:
    config = load(write(project, MINIMAL))
    assert isinstance(config, Config)
    with pytest.raises(AttributeError):
        config.workers = 3  # type: ignore[misc]


def test_types_may_have_limits_each_with_its_line(project: Path) -> None:
    config = load(write(project, MINIMAL + '[workflows.limits]\nPayment = 5\n"Ship item" = 1\n'))
    assert config.limits == {"Payment": 5, "Ship item": 1}
    text = (project / "wfctl.toml").read_text().splitlines()
    assert text[config.limit_lines["Payment"] - 1] == "Payment = 5"
    assert text[config.limit_lines["Ship item"] - 1] == '"Ship item" = 1'
    assert config.described()["limits"] == "Payment 5, Ship item 1 (wfctl.toml)"
    assert load(write(project, MINIMAL + "limits.Payment = 3\n")).limits == {"Payment": 3}


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            "[workflows.limits]\nPayment = 0",
            "the limit of 'Payment' in [workflows.limits] must be from 1 to 10,000, not 0",
        ),
        ("[workflows.limits]\nPayment = 2.5", "'Payment' in [workflows.limits] must be a whole number, not 2.5"),
        ("[workflows.limits]\nPayment = true", "'Payment' in [workflows.limits] must be a whole number, not true"),
        (
            "limits = 5",
            "limits must be a table, not the number 5; write [workflows.limits], and under it lines such as",
        ),
        ('limits.Payment = "many"', "'Payment' in [workflows.limits] must be a whole number, not the text 'many'"),
    ],
)
def test_a_limit_that_is_none_is_told_with_its_line(project: Path, limits: str, told: str) -> None:
    text = MINIMAL + limits + "\n"
    with pytest.raises(ConfigError) as caught:
        load(write(project, text))
    line = len(text.splitlines())
    assert caught.value.message.startswith(f"wfctl.toml:{line}: ")
    assert told in caught.value.message


def test_the_socket_is_in_the_runtime_folder_else_in_the_project_else_where_its_path_is_short_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 5 of the command line: $XDG_RUNTIME_DIR/wfctl, and a fallback under the project."""
    monkeypatch.delenv("WFCTL_SOCKET", raising=False)
    # Too short for a real folder: nothing of it has to exist but the runtime folder.
    shop, deep = Path("/p/shop/wfctl.toml"), Path("/", *["deep"] * 30, "wfctl.toml")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert socket_path(shop) == Path("/p/shop/.wfctl/wfd.sock")
    assert socket_path(deep).parent == Path(f"/tmp/wfctl-{os.getuid()}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    found = socket_path(shop)
    assert (found.parent, found.name.startswith("shop-"), found.suffix) == (Path("/tmp/wfctl"), True, ".sock")
    assert socket_path(Path("/q/shop/wfctl.toml")) != found, "two projects of one name have two sockets"
    long = tmp_path / ("r" * 90)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert socket_path(shop) == Path("/p/shop/.wfctl/wfd.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    assert socket_path(shop) == Path("/p/shop/.wfctl/wfd.sock")


def test_projects_that_share_a_file_by_links_have_a_socket_each_and_one_has_one_by_every_way_to_it(
    project: Path,
) -> None:
    shared = project / "wfctl.toml"
    write(project, MINIMAL)
    for name in ("one", "two"):
        (project / name).mkdir()
        (project / name / "wfctl.toml").symlink_to(shared)
    (project / "way").symlink_to(project / "one")
    one, two, way = [socket_path(project / name / "wfctl.toml") for name in ("one", "two", "way")]
    assert one == way == project / "one" / ".wfctl" / "wfd.sock"
    assert two != one
