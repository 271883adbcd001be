"""Which state folder a project was last started with, and where nothing is known of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfctl.values.states import former_state, last_state, note_state


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder / "wfctl.toml"


def with_database(state: Path) -> Path:
    state.mkdir(parents=True)
    (state / "wfctl.db").touch()
    return state


def test_without_a_note_it_is_the_folder_that_is_the_default(config: Path) -> None:
    assert last_state(config) == config.parent / ".wfctl"
    assert last_state(config.with_name("other.toml")) is None


def test_only_a_folder_with_a_database_that_is_another_one_is_named(config: Path, tmp_path: Path) -> None:
    new = config.parent / "data"
    assert former_state(config, new) is None
    here = with_database(config.parent / ".wfctl")
    assert former_state(config, new) == here
    (tmp_path / "link").symlink_to(config.parent)
    assert former_state(config, tmp_path / "link" / ".wfctl") is None


def test_each_configuration_of_a_folder_has_its_own_and_the_default_needs_no_note(config: Path, tmp_path: Path) -> None:
    other = config.with_name("other.toml")
    note_state(config, config.parent / ".wfctl")
    assert not (config.parent / ".wfctl").exists()
    note_state(other, tmp_path / "far")
    note_state(config, config.parent / "data")
    assert (last_state(config), last_state(other)) == (config.parent / "data", tmp_path / "far")
    note_state(config, config.parent / ".wfctl")
    assert (last_state(config), last_state(other)) == (config.parent / ".wfctl", tmp_path / "far")


def test_what_lies_in_the_project_is_found_where_the_project_was_moved_to(config: Path, tmp_path: Path) -> None:
    note_state(config, config.parent / "data")
    moved = config.parent.rename(tmp_path / "moved")
    assert last_state(moved / "wfctl.toml") == moved / "data"


@pytest.mark.parametrize("noted", ["", "[]", '{"wfctl.toml": 3}', "\xff{"])
def test_a_note_that_is_none_costs_nothing(config: Path, noted: str) -> None:
    (config.parent / ".wfctl").mkdir()
    (config.parent / ".wfctl" / "states").write_text(noted, encoding="latin-1")
    assert last_state(config) == config.parent / ".wfctl"
    note_state(config, config.parent / "data")
    assert last_state(config) == config.parent / "data"


def test_a_folder_that_cannot_be_written_costs_the_note_alone(config: Path) -> None:
    (config.parent / ".wfctl").write_text("")
    note_state(config, config.parent / "data")
    assert last_state(config) == config.parent / ".wfctl"
