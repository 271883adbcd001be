"""`wfctl schedule` on a real daemon: every action by the rules of the command line, and what a person is told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from spec.cli.conftest import enter
from support.cli import Cli
from support.project import Project
from wfctl.cli.app import ActionGroup, load

SUMMER = ("--cron", "30 2 * * *", "--tz", "Europe/Paris")
GROUP: ActionGroup = load("schedule")


@pytest.fixture
def schedule(ruled: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """`cli("schedule", ...)`; what a test makes is gone after it."""
    enter(monkeypatch, ruled)
    cli = Cli(monkeypatch)
    yield cli
    left = cli("schedule", "list", "-o", "id").out
    if left:
        assert cli("schedule", "remove", "--yes", "-", stdin=left).code == 0


def add(cli: Cli, id: str = "nightly", *more: str) -> None:
    said = cli("schedule", "add", id, "Hold", *SUMMER, *more)
    assert (said.code, said.out) == (0, f"{id}\n"), said


def test_what_is_made_is_told_with_its_next_times_and_their_zone(schedule: Cli) -> None:
    said = schedule("schedule", "add", "nightly", "Hold", "note=late", *SUMMER, "-n", "2")
    assert said.out == "nightly\n"
    first, *times = said.err.splitlines()
    assert first == "schedule nightly is made: Hold, 30 2 * * *, time zone Europe/Paris"
    assert len(times) == 2
    assert all(re.fullmatch(r"  \S+T02:30:00\+0[12]:00 Europe/Paris \(in .+\)", time) for time in times)
    shown: Any = schedule("schedule", "show", "nightly", "-o", "json").json
    assert shown["schema"] == "wfctl.schedule/1"
    assert (shown["input"], shown["tz"], shown["status"]) == ({"note": "late"}, "Europe/Paris", "active")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT0[01]:30:00\.000Z", shown["next_at"])
    assert len(shown["next"]) == 5


def test_every_option_of_a_schedule_is_kept(schedule: Cli) -> None:
    words = (
        "--every 1h --offset 5m --tz Europe/Paris --overlap queue --catch-up 90m --until 2099-01-01T00:00:00Z --times 3 "
        "--timeout 10m --paused --note later"
    )
    assert (
        schedule("schedule", "add", "hourly", "Hold", "-i", '{"note": "a", "when": 1}', "when=2", *words.split()).code
        == 0
    )
    shown: Any = schedule("schedule", "show", "hourly", "-o", "json").json
    wanted = {
        "every_ms": 3_600_000, "offset_ms": 300_000, "tz": "Europe/Paris", "overlap": "queue", "catch_up_ms": 5_400_000,
        "until_at": "2099-01-01T00:00:00.000Z", "times": 3, "timeout_ms": 600_000, "status": "paused", "note": "later",
        "input": {"note": "a", "when": 2},
    }  # fmt: skip
    assert {key: shown[key] for key in wanted} == wanted
    assert schedule("schedule", "add", "hourly", "Hold", "--every", "1h", "--replace").code == 0
    again: Any = schedule("schedule", "show", "hourly", "-o", "json").json
    left_out = {
        "offset_ms": 0,
        "overlap": "skip",
        "catch_up_ms": 86_400_000,
        "times": None,
        "timeout_ms": None,
        "until_at": None,
    }
    assert {key: again[key] for key in left_out} == left_out


def test_a_dry_run_checks_everything_and_writes_nothing(schedule: Cli) -> None:
    said = schedule("schedule", "add", "nightly", "Hold", *SUMMER, "--dry-run", "-o", "json")
    answer: Any = said.json
    assert (answer["dry_run"], answer["schedule"]["schedule_id"]) == (True, "nightly")
    assert schedule("schedule", "add", "nightly", "Hold", "when=soon", *SUMMER, "--dry-run").code == 2
    assert schedule("schedule", "list", "-o", "id").out == ""


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("add", "s", "Hold"), 2, "--cron or --every"),
        (("add", "s", "Hold", "--every", "1h", "--cron", "@daily"), 2, "--cron or --every"),
        (("add", "s", "Hold", "--cron", "0 9 * * sat-sun"), 2, "'sat-sun' is no day-of-week"),
        (("add", "s", "Hold", "--every", "soon"), 2, "'soon'"),
        (("add", "s", "Hold", "--cron", "@daily", "--offset", "5m"), 2, "--offset moves --every"),
        (("add", "s", "Hold", "--every", "1h", "--tz", "Europe/Pari"), 2, "did you mean 'Europe/Paris'?"),
        (("add", "s", "Hold", "--every", "1h", "--overlap", "skp"), 2, "did you mean 'skip'?"),
        (("add", "s", "Hold", "--every", "1h", "--until", "2001-01-01"), 2, "it never comes"),
        (("add", "s", "Hold", "--every", "1h", "--note", "x"), 2, "--note says why it is paused"),
        (("add", "s", "Hold", "--every", "1h", "when=soon"), 2, "'when' (int)"),
        (("add", "s", "Hodl", "--every", "1h"), 4, "try: wfctl schedule add s Hold --every 1h"),
        (("add", "s" * 201, "Hold", "--every", "1h"), 2, "at most 200 characters"),
        (("next",), 2, "next times of what?"),
        (("next", "nightly", "--every", "1h"), 2, "a timetable of its own"),
        (("list", "--status", "pausd"), 2, "did you mean 'paused'?"),
        (("shw", "nightly"), 2, "wfctl schedule has no command 'shw'; did you mean 'show'?"),
    ],
)
def test_what_cannot_be_is_refused_in_words(schedule: Cli, words: tuple[str, ...], code: int, told: str) -> None:
    said = schedule("schedule", *words)
    assert (said.code, said.out) == (code, "")
    assert told in said.err


def test_several_are_started_at_once_and_one_that_is_unknown_is_told_beside_them(schedule: Cli) -> None:
    add(schedule, "nightly-1")
    add(schedule, "nightly-2", "--paused")
    assert schedule("schedule", "run-now", "nightly-1", "nightly-2").code == 2
    said = schedule("schedule", "run-now", "-", "nobody", "--yes", stdin="nightly-1\nnightly-2\n")
    ids = said.out.split()
    assert (said.code, [id[:10] for id in ids]) == (9, ["nightly-1-", "nightly-2-"])
    assert "error[schedule_not_found]: no schedule 'nobody'" in said.err
    assert said.err.endswith("2 runs started, 1 failed\n")
    assert schedule("show", "@last", "-o", "id").out == schedule("show", ids[1], "-o", "id").out
    assert schedule("cancel", "--yes", *ids).code == 0


def test_an_id_that_means_something_else_on_a_command_line_is_refused(schedule: Cli) -> None:
    said = schedule("schedule", "add", "-", "Hold", *SUMMER)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(
        "error[invalid_argument]: schedule ID '-' could not be typed: on a command line it means"
    )
    for id in ("-", "@last"):
        said = schedule("start", "Hold", "--id", id)
        assert (said.code, said.out) == (2, "")
        assert "give another" in said.err


@pytest.mark.parametrize("action", ["show", "next", "pause", "resume", "run-now", "remove"])
def test_an_unknown_schedule_is_not_found_and_gets_the_nearest(schedule: Cli, action: str) -> None:
    add(schedule)
    said = schedule("schedule", action, "nigtly")
    assert (said.code, said.out) == (4, "")
    assert said.err.splitlines()[0] == "error[schedule_not_found]: no schedule 'nigtly'; did you mean 'nightly'?"
    error = json.loads(schedule("schedule", action, "nigtly", "-o", "json").err)["error"]
    assert (error["code"], error["exit"], error["hint"]) == ("schedule_not_found", 4, "wfctl schedule show nightly")


def test_one_of_an_id_is_there_once_unless_it_is_replaced(schedule: Cli) -> None:
    add(schedule)
    said = schedule("schedule", "add", "nightly", "Quick", "--every", "1h")
    assert said.code == 5
    assert "error[schedule_exists]" in said.err
    assert schedule("schedule", "add", "nightly", "Quick", "--every", "1h30m", "--replace").code == 0
    assert "every 1h30m" in schedule("schedule").out


def test_several_are_asked_about_and_told_one_by_one(schedule: Cli) -> None:
    add(schedule, "one")
    add(schedule, "two")
    said = schedule("schedule", "pause", "one", "two")
    assert (said.code, said.err.splitlines()[0]) == (
        2,
        "error[usage]: pause 2 schedules (one, two) needs to be confirmed",
    )
    said = schedule("schedule", "pause", "one", "two", "--note", "stocktaking", "--yes", "-o", "id")
    assert (said.code, said.out) == (0, "one\ntwo\n")
    said = schedule("schedule", "pause", "one", "none", "--yes")
    assert said.code == 9
    assert said.err.splitlines()[-1] == "0 paused, 1 had nothing to do, 1 failed"
    listed = schedule("schedule", "list", "--status", "paused").out.splitlines()
    assert [line.split("\t")[0] for line in listed] == ["SCHEDULE", "one", "two"]
    assert all(line.endswith("stocktaking") for line in listed[1:]), "a second pause without a note takes none away"
    assert schedule("schedule", "resume", "-", "--yes", stdin="one\ntwo\n").code == 0
    said = schedule("schedule", "resume", "-", stdin="")
    assert (said.code, said.err) == (0, "0 resumed, 0 had nothing to do, 0 failed\n")
    assert "was resumed already" in schedule("schedule", "resume", "one").err
    assert schedule("schedule", "remove", "one", "two", "--dry-run", "-o", "id").out == "one\ntwo\n"
    assert schedule("schedule", "remove", "one", "--dry-run").err == "schedule one would be removed\n"
    assert schedule("schedule", "list", "-o", "id").out == "one\ntwo\n"


def test_a_run_that_is_started_now_says_so_everywhere(schedule: Cli) -> None:
    add(schedule, "nightly", "--paused", "--note", "why not")
    said = schedule("schedule", "run-now", "nightly")
    id = said.out.strip()
    assert re.fullmatch(r"nightly-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", id)
    assert schedule("wait", "--for", "waiting", id).code == 0
    assert re.search(r"^started by +schedule nightly, for \S+Z$", schedule("show", id).out, re.MULTILINE)
    run: Any = schedule("show", id, "-o", "json").json
    assert run["schedule"] == {"id": "nightly", "at": id.removeprefix("nightly-")}
    shown = schedule("schedule", "show", "nightly").out
    assert re.search(rf"^run +{re.escape(id)}  waiting  by hand$", shown, re.MULTILINE)
    assert "schedule nightly" not in schedule("cancel", id).out
    assert re.search(r"^schedules +1, 1 paused$", schedule("status").out, re.MULTILINE)


def test_next_times_warn_where_clocks_are_changed(schedule: Cli) -> None:
    said = schedule("schedule", "next", *SUMMER, "--after", "2027-03-27T12:00:00Z", "-n", "2")
    assert said.out.splitlines() == [
        "LOCAL\tTIME ZONE\tUTC\tCLOCKS",
        "2027-03-28T03:00:00+02:00\tEurope/Paris\t2027-03-28T01:00:00.000Z\tgap",
        "2027-03-29T02:30:00+02:00\tEurope/Paris\t2027-03-29T00:30:00.000Z\t",
    ]
    assert said.err.startswith("warning[clock_change]: 2027-03-28T03:00:00+02:00 Europe/Paris: the clocks jump over")
    said = schedule("schedule", "next", *SUMMER, "--after", "2027-10-30T12:00:00Z", "-n", "1", "-o", "id")
    assert said.out == "2027-10-31T00:30:00.000Z\n"
    assert "comes the first time only" in said.err
    answer: Any = schedule("schedule", "next", "--every", "1h", "-o", "json").json
    assert (answer["schema"], answer["total"]) == ("wfctl.schedule_times/1", 5)


@pytest.mark.parametrize("action", GROUP.verbs)
def test_the_help_of_every_action_has_examples_that_are_its_own(schedule: Cli, action: str) -> None:
    said = schedule("schedule", action, "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: wfctl schedule {action} ")
    assert f"wfctl schedule {action} " in said.out.partition("Examples:")[2] or action == "list"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_list_fits_the_terminal_and_keeps_the_zone(schedule: Cli, width: int) -> None:
    add(schedule, "a-schedule-with-a-long-name", "--paused", "--note", "because of the stocktaking in all three stores")
    lines = schedule("schedule", tty=True, columns=width, err_tty=False).out.splitlines()
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= width for line in lines)
    assert "TIME ZONE" in lines[0]


def test_times_are_completed_from_the_daemon(schedule: Cli) -> None:
    from wfctl.cli.complete import answer

    add(schedule, "nightly")
    add(schedule, "other", "--paused")
    assert answer(["line", "wfctl schedule re"]) == "resume\nremove\n"
    assert answer(["line", "wfctl schedule show "]) == "nightly\nother\n"
    assert answer(["line", "wfctl schedule resume "]) == "other\n"
    assert answer(["line", "wfctl schedule add x Quick v"]) == "value=\n"
    assert answer(["line", "wfctl schedule add x Quick --tz Europe/Par"]) == "Europe/Paris\n"
