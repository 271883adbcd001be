"""Section 3 of the rules: streams, formats, times, tables, IDs, inputs, bulk, followers. Each test names its rule."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cli import Cli, Terminal
from support.fake_daemon import NOW, FakeDaemon, HangUp
from support.project import Project
from support.runs import entry, failure, node, run, step, tree
from support.verbs import BY_ID, line, options, takes_id
from wfctl.cli.app import VERBS
from wfctl.cli.commands import schedule
from wfctl.cli.options import GROUPS
from wfctl.protocol.calls import HistoryPage, RunPage, WorkflowList
from wfctl.protocol.care import Check, Findings
from wfctl.protocol.views import RunDetail

pytestmark = pytest.mark.xdist_group("rules")

ESCAPE = "\x1b["
# Words for a command that does something and is over, in the order in which they can be typed; the others end the daemon, need it
# down, or take long, and are tried elsewhere.
ELSEWHERE = {"down", "demo", "restore"}
HARMLESS = {"service": ["service", "install", "--print"], "logs": ["logs", "-n", "3"], "init": ["init", "new"]}


def harmless(verb: str) -> list[str]:
    """The command on a run that it is for, and that no other test counts on."""
    runs = {
        "cancel": "cancelled-1",
        "terminate": "terminated-1",
        "send": "sent-1",
        "result": "quick-1",
        "wait": "quick-1",
    }
    return HARMLESS.get(verb) or line(verb, runs.get(verb, "quick-1" if verb == "retry" else "hold-1"))


def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> FakeDaemon:
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "d.sock"))
    return FakeDaemon(tmp_path / "d.sock", answers)


@pytest.fixture(autouse=True)
def quick_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it finds is tried elsewhere, and takes a process of its own."""
    findings = Findings(checks=[Check(code="disk", status="warn", message="nearly full", remedy="make room")])
    monkeypatch.setattr("wfctl.cli.commands.doctor.ask", lambda *_, **__: findings)


# -- 3.1: streams and colour -------------------------------------------------------------------------


def test_stdout_is_what_was_asked_for_and_the_rest_is_on_stderr(cli: Cli) -> None:
    """Rule 3.1: hints, totals and warnings are on stderr."""
    said = cli("list", "--limit", "2")
    assert len(said.out.splitlines()) == 3
    assert re.fullmatch(r"2 of \d+, more: --after \d+, or a higher --limit\n", said.err)
    assert cli("list", "--limit", "2", "-q").err == ""


@pytest.mark.parametrize(("out", "err"), [(True, False), (False, True)])
def test_each_stream_is_coloured_by_itself(cli: Cli, out: bool, err: bool) -> None:
    """Rule 3.1: whether a stream is a terminal is decided for each."""
    said = cli("wait", "broken-1", tty=out, err_tty=err)
    assert (ESCAPE in said.out, ESCAPE in said.err) == (out, err)


@pytest.mark.parametrize(
    ("environment", "words", "tty", "coloured"),
    [
        ({}, (), True, True), ({}, (), False, False), ({"NO_COLOR": "1"}, (), True, False), ({"TERM": "dumb"}, (), True, False),
        ({}, ("--color", "never"), True, False), ({}, ("-o", "json"), True, False), ({}, ("--color", "always"), False, True),
        ({"NO_COLOR": "1"}, ("--color", "always"), False, True), ({"FORCE_COLOR": "1"}, (), False, True),
    ],
)  # fmt: skip
def test_colour_is_for_terminals_unless_it_is_asked_for(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    words: tuple[str, ...],
    tty: bool,
    coloured: bool,
) -> None:
    """Rule 3.1: NO_COLOR, TERM=dumb, --color and FORCE_COLOR."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for verb in ("list", "tree", "show", "wait", "status"):
        assert (ESCAPE in cli(*line(verb, "broken-1"), *words, tty=tty).out) is coloured, verb


# -- 3.2 and 3.3: formats ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_takes_every_output_format(verb: str) -> None:
    """Rule 3.2: -o, -q, --color, --project and --debug on every command."""
    assert {"-o", "--output", "-q", "--quiet", "--color", "--project", "--debug"} <= options(verb).keys()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ELSEWHERE])
def test_every_command_answers_in_json_that_parses(
    cli: Cli, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 3.2 and 3.3: one document, of a schema, with -o json; lines of JSON with -o jsonl, and with WFCTL_OUTPUT."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (words,) = [harmless(verb)]
    said = cli(*words, "-o", "json")
    if said.code == 0 or verb in ("check", "doctor"):
        assert re.fullmatch(r"wfctl\.\w+/\d+", json.loads(said.out)["schema"]), said
        assert said.out.count("\n") == 1
    else:
        assert said.out == ""
        (told,) = said.err.splitlines()
        assert json.loads(told)["error"]["exit"] == said.code
    if verb in ("check", "reload"):
        return  # these take a process of their own
    monkeypatch.setenv("WFCTL_OUTPUT", "jsonl")
    again = cli(*words, *(["--force"] if verb == "backup" else []))
    assert all(isinstance(json.loads(text), dict) for text in again.out.splitlines())


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ELSEWHERE and verb not in ("check", "reload")])
def test_quiet_silences_all_but_errors(cli: Cli, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 3.2: -q silences chatter, never errors; the answer stays what it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [*harmless(verb), *(["--force"] if verb == "backup" else [])]
    said = cli(*words, "-q")
    assert (said.err == "") is (said.code in (0, 9)), said
    assert cli(verb, "--no-such-option", "-q").err.startswith("error[usage]: ")


def test_start_prints_the_id_alone_and_with_wait_the_result_alone(cli: Cli) -> None:
    """Rule 3.2: id=$(wfctl start ...) needs no flag."""
    assert cli("start", "Quick", "--id", "quick-2").out == "quick-2\n"
    assert cli("start", "Quick", "--wait").out == '{"value":42}\n'
    assert cli("start", "Quick", "-q").err == ""


def test_a_list_in_json_has_items_next_and_total(cli: Cli) -> None:
    """Rule 3.3: lists are {"items": [...], "next": cursor or null, "total": n or null}."""
    lists = (
        "list --limit 1", "history quick-1", "workflows", "explain", "logs", "query hold-1", "wait quick-1", "tail quick-1",
        "history quick-1 hold-1", "show quick-1 hold-1", "schedule list", "schedule next --every 1h",
        "retry --status failed --dry-run", "cancel --type Hold --dry-run", "purge --status failed --dry-run",
    )  # fmt: skip
    for words in map(str.split, lists):
        document: Any = cli(*words, "-o", "json").json
        begins = [*document].index("items")
        assert [*document][begins : begins + 3] == ["items", "next", "total"], words
        assert document["next"] is None or words[0] == "list", words
        assert type(document["total"]) is int, words
    page: Any = cli("list", "--limit", "1", "-o", "json").json
    assert cli("list", "--limit", "1", "--after", page["next"], "-o", "id").out != page["items"][0]["run_id"] + "\n"


def test_ids_go_from_one_command_to_the_next(cli: Cli) -> None:
    """Rule 3.3: -o id is one ID a line, and - takes them from stdin."""
    failed = cli("list", "--status", "failed", "-o", "id").out
    assert re.fullmatch(r"([0-9A-Z]{26}\n)+", failed)
    again = cli("retry", "--dry-run", "-o", "id", "-", stdin=failed)
    assert (again.code, again.out) == (0, failed)
    one = cli("list", "--limit", "1", "-o", "id").out
    for verb in BY_ID:
        found = cli(
            *line(verb, "-"), *(["--timeout", "1ms"] if verb in ("result", "wait") else []), stdin="no-such-run\n"
        )
        assert (found.code, "'no-such-run'" in found.err) == (4, True), verb
    for verb in ("show", "history", "tree"):
        assert cli(verb, "-", stdin=one).code == 0, verb
        assert cli(verb, "-", stdin=f"{one}hold-1\n").code == 0, verb
        assert cli(verb, "-", stdin=f"{one}no-such-run\n").code == 9, verb
    assert cli("timeline", "-", stdin=f"{one}hold-1\n").code == 2
    for verb in ("cancel", "terminate", "wait", "tail"):
        assert cli(verb, "-", stdin=failed).code in (0, 10), verb


# -- 3.4: JSON ---------------------------------------------------------------------------------------


def test_json_has_one_style(cli: Cli) -> None:
    """Rule 3.4: snake_case, RFC 3339 in UTC with milliseconds, *_ms as integers, lower-case statuses; no prompt, stable order."""
    documents = [
        cli(*harmless(verb), "-o", "json").out
        for verb in ("list", "show", "history", "tree", "status", "workflows", "up", "tail", "timeline", "wait")
    ]

    def look(value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                assert re.fullmatch(r"[a-z][a-z0-9_]*|\$bytes|[A-Z]\w*", key), key
                if key != "schema":  # a JSON schema has names of its own
                    look(item, key)
        elif isinstance(value, list):
            for item in value:
                look(item, name)
        elif name.endswith("_at") and value is not None:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(value)), name
        elif name.endswith("_ms") and value is not None:
            assert type(value) is int, name
        elif name == "status":
            assert value == value.lower()

    for text in documents:
        look(json.loads(text))
    assert (
        cli("list", "-o", "json")
        .out.partition('"started_at"')[0]
        .startswith('{"schema":"wfctl.runs/1","items":[{"run_id":')
    )
    # A payload stands in it as the JSON it is.
    detail: Any = cli("show", "hold-1", "-o", "json").json
    assert detail["store"] == {"note": "first"}
    assert cli("cancel", "hold-1", "hold-2", "-o", "json", tty=True).code == 2


# -- 3.5: times and numbers --------------------------------------------------------------------------


def test_times_are_relative_on_a_terminal_and_utc_elsewhere_and_as_asked_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rule 3.5: --time relative|utc|local|unix; the zone is always printed."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setattr("wfctl.cli.commands.list.now_ms", lambda: NOW)
    time.tzset()
    try:
        with serve(tmp_path, monkeypatch, list=RunPage(items=[run()], next=None, total=1)):
            assert "4m12s ago" in cli("list", tty=True, columns=200).out
            assert "\t2026-11-23T02:55:48.000Z\t" in cli("list").out
            for way, shown in (
                ("relative", "4m12s ago"), ("utc", "2026-11-23T02:55:48.000Z"), ("local", "2026-11-23T08:25:48.000+05:30"),
                ("unix", "1795402548.000"),
            ):  # fmt: skip
                assert f"\t{shown}\t" in cli("list", "--time", way).out
                assert f" {shown} " in cli("list", "--time", way, tty=True, columns=200).out
                assert "2026-11-23T02:55:48.000Z" in cli("list", "--time", way, "-o", "json").out
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "--time" in options(verb) and verb != "restore"])
@pytest.mark.parametrize("tty", [True, False])
def test_every_command_that_shows_times_shows_them_as_asked_for(cli: Cli, verb: str, tty: bool) -> None:
    """Rule 3.5, of every command that has --time: in UTC no instant is left relative, in unix none is left in UTC."""
    shown = cli(*harmless(verb), "--time", "unix", tty=tty, columns=200).out
    # In what a handler recorded, in a title, and in the workflow ID of a run that a schedule started, a date may stand.
    told = re.sub(r".*\.recorded.*|nightly-\S+", "", shown)
    assert not re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d", told), shown
    assert not re.search(r"\d+[smhd] ago|ago\b", cli(*harmless(verb), "--time", "utc", tty=tty, columns=200).out)


def test_thousands_are_separated_on_a_terminal_alone(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rule 3.5: numbers."""
    with serve(tmp_path, monkeypatch, list=RunPage(items=[run()], next="7", total=2003)):
        assert cli("list", "--limit", "1").err.startswith("1 of 2003, more")
        assert cli("list", "--limit", "1", tty=True).err.startswith("1 of 2,003, more")


# -- 3.6: tables -------------------------------------------------------------------------------------

TABLES = [verb for verb in VERBS if "--fields" in options(verb)]


def test_a_table_off_a_terminal_has_tabs_a_header_and_nothing_cut(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rule 3.6: tab-separated, untruncated, header kept unless --no-header."""
    long = "x" * 300
    page = RunPage(items=[run(long, status="failed", error=failure("E", "a\tb\nc"))], next=None, total=1)
    with serve(tmp_path, monkeypatch, list=page):
        header, row = cli("list").out.splitlines()
        assert header.split("\t")[:3] == ["WORKFLOW ID", "TYPE", "STATUS"]
        assert len(header.split("\t")) == len(row.split("\t"))
        assert row.startswith(f"{long}\tOrder\tfailed\t")
        assert cli("list", "--no-header").out == row + "\n"
        assert len(cli("list", "--no-header", tty=True).out.splitlines()) == 1


def test_optional_columns_come_when_a_row_has_them(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rule 3.6: a fixed set of columns, the optional ones where there is data."""
    with serve(tmp_path, monkeypatch, list=RunPage(items=[run()], next=None, total=1)) as fake:
        assert "PROBLEM" not in cli("list").out
        fake.answers["list"] = RunPage(items=[run(status="stuck", stuck_reason="no code")], next=None, total=1)
        assert "PROBLEM" in cli("list").out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_table_fits_the_terminal(cli: Cli, columns: int) -> None:
    """Rule 3.6: low-priority columns leave first, then text is cut."""
    chosen = ("list", "--fields", "workflow_id,workflow_type,status,run_id,started_at,error")
    for words in (("list",), ("wait", "broken-1"), ("explain",), ("query", "hold-1"), chosen):
        for shown in cli("--color", "never", *words, tty=True, columns=columns).out.splitlines():
            assert len(shown) <= columns, shown
    assert "RUN ID" not in cli("list", tty=True, columns=80).out
    assert "RUN ID" in cli("list", tty=True, columns=200).out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_whatever_is_shown_fits_the_terminal(cli: Cli, columns: int) -> None:
    """Rules 1 and 3.6: broken between words or cut, but for a word that has no room beside its label, such as a path."""
    for words in (
        "tree", "tree hold-1 broken-1", "list", "show broken-1 hold-1", "history broken-1 hold-1", "timeline quick-1",
        "graph Hold", "status", "workflows", "schedule next --every 1h", "tail -n 5 broken-1", "tail -n 9",
        "doctor", "purge --status failed --dry-run", "query hold-1", "explain failed", "reload",
    ):  # fmt: skip
        said = cli("--color", "never", *words.split(), tty=True, err_tty=False, columns=columns)
        assert said.out, words
        for shown in said.out.splitlines():
            longest = max(map(len, shown.split()), default=0)
            assert len(shown) <= columns or longest > columns - len("workflow ID  ") - 1, (words, shown)


@pytest.mark.parametrize("columns", [36, 40, 49, 80, 200])
def test_every_help_fits_the_terminal(cli: Cli, columns: int) -> None:
    """Rule 3.6, of what is told about a command: all but the lines to be copied, on any terminal."""
    for words in ([], *([verb] for verb in VERBS), *(["schedule", action] for action in schedule.ACTIONS)):
        told, _, examples = cli(*words, "--help", tty=True, columns=columns).out.partition("\n  Examples:\n")
        assert bool(examples) is bool(words)
        for shown in told.splitlines():
            assert len(shown) <= columns or shown.startswith("    wfctl "), (words, shown)
    wide = cli("list", "--help", tty=True, columns=columns).out
    assert ("  --type TYPE                     Only runs of this type" in wide) is (columns >= 80)


@pytest.mark.parametrize("verb", TABLES)
def test_fields_choose_what_is_shown_and_a_wrong_one_is_named(cli: Cli, verb: str) -> None:
    """Rule 3.6: --fields a,b.c in tables, JSON and lines of JSON, of every command with a table."""
    words = harmless(verb)
    wrong = cli(*words, "--fields", "no_such_field")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("error[invalid_argument]: 'no_such_field' is no field\n  hint: use ")
    first, second, *_ = wrong.err.partition("hint: use ")[2].strip().split(", ")
    asked = f"{second},{first}"
    header = cli(*words, "--fields", asked).out.partition("\n")[0]
    assert header == f"{second}\t{first}"
    assert header not in cli(*words, "--fields", asked, "--no-header").out
    document: Any = cli(*words, "--fields", asked, "-o", "json").json
    listed = next((document[name] for name in ("items", "checks", "bars") if name in document), None)
    for item in [{name: document[name] for name in document if name != "schema"}] if listed is None else listed:
        assert list(item) == [second, first]


@pytest.mark.parametrize(
    ("words", "fields", "shown"),
    [
        ("explain storage", "code,exit", "storage\t8"), ("explain 13", "name,codes", 'timed_out\t["timed_out"]'),
        ("query hold-1 state", "name,value", "state\tall"), ("show broken-1", "workflow_id,error.type", "broken-1\tValueError"),
        ("doctor", "code,status", "disk\twarn"), ("wait quick-1", "workflow_id,exit", "quick-1\t0"),
    ],
)  # fmt: skip
def test_fields_of_one_thing_are_a_row_and_an_object(cli: Cli, words: str, fields: str, shown: str) -> None:
    """Rule 3.6: also where a command shows no list."""
    assert shown in cli(*words.split(), "--fields", fields, "--no-header").out.splitlines()
    text = cli(*words.split(), "--fields", fields, "-o", "jsonl").out.splitlines()[0]
    first = json.loads(text)
    assert fields.split(",")[0] in first
    assert None not in first.values()


def test_a_field_of_a_field_stays_in_its_place(cli: Cli) -> None:
    """Rule 3.6: a,b.c; all that is wrong is told together, each with the nearest."""
    page: Any = cli("list", "--status", "failed", "--fields", "workflow_id,error.type,error.message", "-o", "json").json
    assert page["items"][-1] == {
        "workflow_id": "broken-1",
        "error": {"type": "ValueError", "message": "limit exceeded"},
    }
    table = cli("list", "--status", "failed", "--fields", "workflow_id,error.message", "--no-header").out
    assert table.splitlines()[-1] == "broken-1\tlimit exceeded"
    assert cli("show", "hold-1", "--fields", "store.note", "--no-header").out == "first\n"
    several = cli("list", "--fields", "wrkflow_id,error.mesage,status.x")
    assert several.code == 2
    assert several.err.splitlines()[:4] == [
        "error[invalid_argument]: 3 problems in --fields:",
        "  'wrkflow_id' is no field; did you mean 'workflow_id'?",
        "  'error.mesage' is no field; error has 'message'",
        "  'status' has no fields in it",
    ]


def test_only_a_long_text_on_a_terminal_is_paged(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rule 3.6: WFCTL_PAGER before PAGER; for show, history and list on a terminal; --no-pager."""
    seen = tmp_path / "seen"
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {seen}\n")
    pager.chmod(0o700)
    monkeypatch.setenv("PAGER", "/nowhere/pager")
    monkeypatch.setenv("WFCTL_PAGER", str(pager))
    page = RunPage(items=[run(f"order-{number}") for number in range(60)], next=None, total=60)
    with serve(tmp_path, monkeypatch, list=page) as fake:
        assert cli("list", tty=True).out == ""
        assert len(seen.read_text().splitlines()) == 61
        assert ESCAPE in seen.read_text()
        seen.unlink()
        for words in (("list", "--no-pager"), ("--no-pager", "list")):
            assert len(cli(*words, tty=True).out.splitlines()) == 61
        assert len(cli("list").out.splitlines()) == 61
        monkeypatch.setenv("WFCTL_PAGER", "")
        assert len(cli("list", tty=True).out.splitlines()) == 61
        monkeypatch.delenv("WFCTL_PAGER")
        refused = cli("list", tty=True)
        assert len(refused.out.splitlines()) == 61
        assert "warning[pager]" in refused.err
        monkeypatch.setenv("WFCTL_PAGER", str(pager))
        fake.answers["list"] = RunPage(items=page.items[:5], next=None, total=5)
        assert len(cli("list", tty=True).out.splitlines()) == 6
        assert not seen.exists()


def test_history_details_and_a_whole_tree_are_paged_too(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rule 3.6: show, history, and tree with --all; a tree without it fits by itself."""
    seen = tmp_path / "seen"
    monkeypatch.setenv("WFCTL_PAGER", f"tee {seen}")
    items = [entry("run.started", seq=number) for number in range(60)]
    store = {f"key-{number}": msgspec.Raw(b"1") for number in range(60)}
    whole = tree(node(run(), *(step(f"step-{number}") for number in range(300))))
    answers = {"history": HistoryPage(run=run(), items=items), "get": RunDetail(run=run(), store=store), "tree": whole}
    with serve(tmp_path, monkeypatch, workflows=WorkflowList(items=[], problems=[]), **answers):
        for words in ("history o", "show o", "tree o --all"):
            cli(*words.split(), tty=True)
            assert len(seen.read_text().splitlines()) >= 60, words
            seen.unlink()
            assert len(cli(*words.split(), "--no-pager", tty=True).out.splitlines()) >= 60, words
        folded = cli("tree", "o", tty=True).out
        assert not seen.exists()
        assert "step-299" not in folded
        assert len(folded.splitlines()) <= 200
        assert len(cli("tree", "o", "--all", "--no-pager", tty=True).out.splitlines()) == 301, "no budget"


def test_who_leaves_the_pager_has_seen_enough(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rule 3.6 and 2: a closed pipe is silent, and 0."""
    monkeypatch.setenv("WFCTL_PAGER", "true")
    page = RunPage(items=[run(f"order-{number}-{'x' * 500}") for number in range(1_000)], next=None, total=1_000)
    with serve(tmp_path, monkeypatch, list=page):
        said = cli("list", tty=True, columns=2_000)
    assert (said.code, said.out, said.err) == (0, "", "")


# -- 3.7: IDs ----------------------------------------------------------------------------------------


def test_an_id_is_a_workflow_id_a_run_id_or_a_prefix_of_four(cli: Cli) -> None:
    """Rule 3.7: unique prefixes from four characters; ambiguous ones list candidates."""
    run_id = cli("show", "quick-1", "-o", "id").out.strip()
    for text in ("quick-1", run_id, "brok"):
        assert cli("show", text).code == 0
    assert cli("show", "bro").code == 4
    ambiguous = cli("show", "hold-")
    assert ambiguous.code == 2
    assert ambiguous.err.startswith("error[ambiguous_id]: ")
    assert "hold-1" in ambiguous.err
    assert "hold-2" in ambiguous.err


def test_at_last_is_the_run_that_was_started_last(cli: Cli) -> None:
    """Rule 3.7: @last, of this project."""
    cli("start", "Quick", "--id", "quick-3", "--wait")
    assert json.loads(cli("show", "@last", "-o", "json").out)["workflow_id"] == "quick-3"


@pytest.mark.parametrize("verb", BY_ID)
def test_exact_takes_no_prefix_whatever_the_verb(cli: Cli, verb: str) -> None:
    """Rule 3.7: --exact is for scripts, on every command that takes an ID."""
    for prefix in ("brok", "hold-"):
        said = cli(*line(verb, prefix), "--exact")
        assert (said.code, said.out) == (4, ""), verb
        assert "no run has exactly the ID" in said.err
    assert cli("--exact", "show", "broken-1").code == 0


# -- 3.8: inputs -------------------------------------------------------------------------------------


def test_inputs_are_text_json_files_or_a_document(cli: Cli, tmp_path: Path) -> None:
    """Rule 3.8: key=value converted to the annotated type, key:=json, key=@file, -i JSON|@file|-, in this precedence."""
    (tmp_path / "note").write_text("from a file")
    given = {
        "note=text when=7": ('{"note": "doc"}', {"note": "text", "when": 7}),
        'note:="json"': ('{"note": "doc", "when": 3}', {"note": "json", "when": 3}),
        f"note=@{tmp_path}/note": (None, {"note": "from a file", "when": 0}),
        "": ('{"when": 5}', {"when": 5}),
    }
    for number, (words, (document, input)) in enumerate(given.items()):
        id = f"input-{number}"
        extra = ["-i", document] if document else []
        assert cli("start", "Hold", "--id", id, *words.split(), *extra).code == 0
        shown: Any = cli("show", id, "-o", "json").json
        assert {key: value for key, value in shown["input"].items() if key in input} == {
            key: value for key, value in input.items() if key in shown["input"]
        }
    (tmp_path / "doc").write_text('{"note": "deep"}')
    for number, source in enumerate((f"@{tmp_path}/doc", "-"), 8):
        assert cli("start", "Hold", "--id", f"input-{number}", "-i", source, stdin='{"note": "deep"}').code == 0
        assert json.loads(cli("show", f"input-{number}", "-o", "json").out)["input"] == {"note": "deep"}


def test_a_wrong_input_names_the_argument_and_its_type_before_anything_is_written(cli: Cli) -> None:
    """Rule 3.8, and 4: all problems of one input together."""
    said = cli("start", "Hold", "--id", "never", "when=noon", "nte=x")
    assert said.code == 2
    assert "parameter 'when' (int)" in said.err
    assert "unknown parameter 'nte' (did you mean 'note'?)" in said.err
    broken = cli("start", "Hold", "--id", "never", "note", "when:=[", "note=@/no/such/file", "-i", "{")
    assert broken.err.splitlines()[0] == "error[invalid_argument]: 4 problems in the input:"
    assert len(broken.err.splitlines()) == 6
    error = json.loads(cli("start", "Hold", "note", "when:=[", "-o", "json").err)["error"]
    assert len(error["detail"]["problems"]) == 2
    assert cli("show", "never").code == 4


# -- 3.9: bulk ---------------------------------------------------------------------------------------


def test_several_are_asked_about_and_without_a_terminal_need_yes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 3.9: the count and the first ten; the default is no; CI changes nothing."""
    monkeypatch.setenv("CI", "true")
    said = cli("cancel", *(f"x-{number}" for number in range(12)))
    assert said.code == 2
    assert "cancel 12 runs (x-0, x-1, x-2, x-3, x-4, x-5, x-6, x-7, x-8, x-9 and 2 more)" in said.err
    assert said.err.endswith("  hint: add --yes\n")
    told = cli("cancel", "cancelled-1", "terminated-1", "--yes").err.splitlines()
    assert told[0] == "cancel 2 runs: cancelled-1, terminated-1"


@pytest.mark.parametrize("verb", [verb for verb in BY_ID if "--yes" in options(verb)])
def test_a_dry_run_lists_what_the_real_one_would(cli: Cli, verb: str) -> None:
    """Rule 3.9: --dry-run, with -o id, changing nothing; a --limit tells what it leaves out."""
    status = "failed" if verb == "retry" else "waiting"
    found = cli("list", "--status", status, "-o", "id").out
    assert cli(verb, "--status", status, "--dry-run", "-o", "id").out == found
    assert cli("list", "--status", status, "-o", "id").out == found
    if len(found.splitlines()) > 1:
        limited = cli(verb, "--status", status, "--limit", "1", "--dry-run")
        assert "would match; --limit is 1" in limited.err


def test_each_item_is_one_line_of_jsonl_and_the_summary_is_on_stderr(cli: Cli) -> None:
    """Rule 3.9: and 9 when any failed."""
    said = cli("cancel", "cancelled-1", "no-such-run", "terminated-1", "--yes", "-o", "jsonl")
    assert said.code == 9
    assert [line["error"] is None for line in said.lines] == [True, False, True]  # type: ignore[index]
    assert said.err == "0 asked to end, 2 had nothing to do, 1 failed\n"


# -- 3.10: followers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [verb for verb in VERBS if options(verb).keys() & {"-f", "-w", "--wait"}])
def test_every_follower_can_be_told_how_long_to_wait_for_a_daemon(verb: str) -> None:
    """Rule 3.10: --reconnect."""
    assert "--reconnect" in options(verb), f"{verb}: add 'follow' to its TAKES"


@pytest.mark.parametrize(
    "words", [("tail", "-f", "o"), ("tree", "-f", "o"), ("result", "o"), ("wait", "o"), ("status", "-w")]
)
def test_a_follower_gives_up_with_three(
    cli: Cli, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 3.10: after --reconnect, with a note on stderr."""

    def gone(call: Any) -> Any:
        fake.stop()
        raise HangUp

    with serve(tmp_path, monkeypatch, tail=gone, watch=gone, tree=gone, result=gone, status=gone) as fake:
        said = cli(*words, "--reconnect", "50ms")
    assert said.code == 3
    assert said.err.startswith("the daemon went away; waiting up to 0.05 s for it\nerror[daemon_down]")


# -- the options, over the table of commands -----------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_takes_the_options_of_what_it_does(verb: str) -> None:
    """Rules 2, 3.5 to 3.7 and 3.10: what a command's own parameters say it does, it has the options for."""
    taken = options(verb)
    if takes_id(verb):
        assert "--exact" in taken, f"{verb}: add 'ids' to its TAKES"
    if "--fail-if-stuck" in taken or (verb in BY_ID and "--follow" in taken):
        assert "--exit-zero" in taken, f"{verb}: add 'outcome' to its TAKES"
    for group, names in GROUPS.items():
        present = {f"--{name.replace('_', '-')}" in taken for name in names}
        assert len(present) == 1, f"{verb}: {group} as a whole, or not at all"


def test_nobody_is_asked_where_the_streams_are_no_terminal(ruled: Project) -> None:
    """Rule 2 and 3.9, in a process of its own: a prompt that nobody can answer is 2."""
    done = ruled.run("cancel", "hold-1", "hold-2", input="")
    assert (done.returncode, done.stdout) == (2, "")
    assert Terminal().isatty()
