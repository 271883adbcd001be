"""Named SQL: each query is found by its name, is used, and goes through an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wfd.store import purge, queries
from wfd.store.batch import MANY
from wfd.store.connect import connect_writer
from wfd.store.rows import RunRow

FILES = sorted(file.stem for file in (queries.HERE / "sql").glob("*.sql"))
BIG = ("runs", "history", "inbox", "store", "logs")
# What is made on the writer's connection.
MADE = ("removal", "remove")
# Queries that read a whole index or table, and why they may.
SCANS = {
    "orphans": "open children bound to their parents: an index of just those",
    "count_runs": "only asked of a file that is looked at from outside, and wholly checked",
    "open_roots": "reads from the end of an index that has only open runs without a parent, up to its limit",
    "open_states": "the states of all open runs, through an index that has only those: doctor looks at each",
    "newest_workflow_ids": "reads from the end of the table, up to its limit",
}


def _queries() -> Iterator[tuple[str, str]]:
    for stem in FILES:
        yield from queries.load(stem).items()


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    db = connect_writer(tmp_path_factory.mktemp("plans") / "wfctl.db")
    purge.prepare(db)
    db.execute(queries.load("needs")["view"])
    yield db
    db.close()


def _plan(db: sqlite3.Connection, sql: str) -> list[str]:
    named = set(re.findall(r":(\w+)", re.sub(r"'[^']*'|--[^\n]*", "", sql)))
    numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    parameters: Any = dict.fromkeys(named) if named else [None] * (max(numbered, default=0) or sql.count("?"))
    return [row[3] for row in db.execute(f"explain query plan {sql}", parameters)]


def _scans(db: sqlite3.Connection, sql: str) -> list[str]:
    """The steps of the plan that walk through a whole table of ours, under whatever name the query gives it."""
    names = set(BIG) | {alias for table, alias in re.findall(r"\b(\w+) as (\w+)\b", sql) if table in BIG}
    return [step for step in _plan(db, sql) if (found := re.match(r"SCAN (\w+)", step)) and found[1] in names]


@pytest.mark.parametrize(("name", "sql"), [pair for pair in _queries() if pair[0] not in MADE], ids=lambda x: x[:24])
def test_a_query_goes_through_an_index(db: sqlite3.Connection, name: str, sql: str) -> None:
    scans = _scans(db, sql)
    assert bool(scans) == (name in SCANS), f"{name}: {scans or 'no scan any more: take it off the list'}"


def test_the_plan_check_sees_a_scan(db: sqlite3.Connection) -> None:
    assert _scans(db, "select * from runs as r where r.step = ?")
    assert _scans(db, "select * from history where kind = ?")
    assert not _scans(db, "select * from runs where key = ?")


def test_a_commit_finds_what_it_changes_by_its_key(db: sqlite3.Connection) -> None:
    write = queries.load("write")
    for name, step in (
        ("run_changed", "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("run_closed", "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("run_completed", "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("run_turned", "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("run_waits_on", "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("run_runs_on", "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("run_passed", "SEARCH runs USING INTEGER PRIMARY KEY (rowid=?)"),
        ("value_deleted", "SEARCH store USING PRIMARY KEY (run=? AND key=?)"),
        ("event_gone", "SEARCH inbox USING PRIMARY KEY (run=? AND seq=?)"),
    ):
        assert _plan(db, write[name]) == [step]


@pytest.mark.parametrize("name", ["run_runs_on", "run_waits_on"])
def test_a_run_that_runs_on_names_no_column_that_is_indexed(db: sqlite3.Connection, name: str) -> None:
    indexed = {
        column
        for (index,) in db.execute(
            "select name from sqlite_master where type = 'index' and tbl_name = 'runs'"
        ).fetchall()
        for (column,) in db.execute("select name from pragma_index_info(?)", (index,)).fetchall()
    }
    conditions = db.execute("select group_concat(sql) from sqlite_master where tbl_name = 'runs' and type = 'index'")
    text = conditions.fetchone()[0]
    assert {"status", "wake_at"} <= indexed
    named = set(re.findall(r"(\w+) = ", queries.load("write")[name].partition("where")[0]))
    assert not named & indexed
    assert not [column for column in named if re.search(rf"where[^,]*\b{column}\b", text)]


def test_a_row_is_written_without_tables_made_for_it(db: sqlite3.Connection) -> None:
    for name, sql in (*queries.load("write").items(), *MANY.items()):
        made = [row for row in db.execute(f"explain {sql}", [None] * sql.count("?")) if row[1] == "OpenEphemeral"]
        assert not made, name


def test_a_run_that_turns_leaves_the_indexes_of_open_runs_alone(db: sqlite3.Connection) -> None:
    roots = dict(db.execute("select rootpage, name from sqlite_master where rootpage > 0").fetchall())

    def written(name: str) -> set[str]:
        sql = queries.load("write")[name]
        return {roots[row[3]] for row in db.execute(f"explain {sql}", [None] * sql.count("?")) if row[1] == "OpenWrite"}

    of_open = {"open_workflow_ids", "open_roots", "runs_bound", "runs_due"}
    assert of_open <= written("run_changed")
    assert "runs_due" not in written("run_closed") | written("run_completed")
    assert not of_open & written("run_turned")
    assert written("run_runs_on") == written("run_waits_on") == {"runs"}


def test_a_purge_looks_every_row_up(db: sqlite3.Connection) -> None:
    body = re.sub(r"--[^\n]*", "", queries.load("purge")["remove"].partition(" begin\n")[2].rpartition("end;")[0])
    statements = [re.sub(r"\bnew\.\w+", "?", statement).strip() for statement in body.split(";")]
    statements = [statement for statement in statements if statement and "raise(" not in statement]
    assert len(statements) == 12
    for statement in statements:
        assert _scans(db, statement) == []
    plans = [step for statement in statements for step in _plan(db, statement)]
    for table, index in (("history", "INDEX history_by_run"), ("logs", "INDEX logs_by_run")):
        assert any(step.startswith(f"SEARCH {table} USING {index} (run=?") for step in plans)


def test_runs_since_a_time_are_counted_and_listed_in_indexes_alone(db: sqlite3.Connection) -> None:
    browse = queries.load("browse")
    for kind in ("type", "parent"):
        plan = _plan(db, browse[f"count_{kind}"])
        sure, looked_at = [step for step in plan if step.startswith("SEARCH r ")]
        assert sure.startswith(f"SEARCH r USING COVERING INDEX runs_by_{kind} (")
        assert "rowid>? AND rowid<?" in looked_at, "what is looked at lies between two runs"


def test_every_query_is_used_and_none_is_missing() -> None:
    code = "\n".join(file.read_text() for file in queries.HERE.glob("*.py"))
    # `list_{kind}` and the like stand for every query that fits.
    patterns = [
        re.sub(r"\\\{[^}]*\\\}", r"\\w*", re.escape(name))
        for name in re.findall(r'(?:READ|BROWSE|WRITE|PURGE)\[f?"([^"]+)"\]', code)
    ]
    patterns += [re.escape(name) for name in re.findall(r'"(\w+)"', code)]
    unused = [name for name, _ in _queries() if not any(re.fullmatch(pattern, name) for pattern in patterns)]
    assert unused == []


def test_names_are_unique_over_all_files() -> None:
    names = [name for name, _ in _queries() if name != "batch"]
    assert sorted(set(names)) == sorted(names)


def test_a_query_that_is_named_twice_or_empty_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "HERE", tmp_path)
    (tmp_path / "sql").mkdir()
    for text in ("-- name: a\nselect 1;\n-- name: a\nselect 2;", "-- name: a\n\n-- name: b\nselect 1;"):
        (tmp_path / "sql" / "bad.sql").write_text(text)
        with pytest.raises(ValueError, match="'a' is empty or defined twice"):
            queries.load("bad")


def test_a_run_is_read_and_written_in_the_order_of_its_fields() -> None:
    columns = list(RunRow.__struct_fields__)
    for name in ("load_run", "find_child"):
        selected = queries.load("read")[name].partition("select")[2].replace("r.", "")
        assert [word.strip() for word in selected.replace("from", ",").split(",")][: len(columns)] == columns
    inserted = re.search(r"insert into runs \(([^)]*)\)", queries.load("write")["run_new"])
    assert inserted is not None
    assert [word.strip() for word in inserted[1].split(",")] == columns
