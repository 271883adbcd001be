"""`wfctl service`: the unit it writes, and what it tells systemd, which is played by a script here."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon
from wfctl.protocol.views import StatusView

Start = Callable[..., FakeDaemon]
PLAYED = """#!/bin/sh
echo "$*" >> {log}
case "$2" in is-active) test -e {active};; *) test ! -e {broken} || {{ echo "Failed to connect to bus" >&2; exit 1; }};; esac
"""


class Systemd:
    """`calls` are the words after `systemctl --user`."""

    def __init__(self, folder: Path) -> None:
        self._log, self.active, self.broken = folder / "log", folder / "active", folder / "broken"
        self._log.touch()
        script = folder / "systemctl"
        script.write_text(PLAYED.format(log=self._log, active=self.active, broken=self.broken))
        script.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        said = [line.removeprefix("--user ") for line in self._log.read_text().splitlines()]
        self._log.write_text("")
        return said


@pytest.fixture
def systemd(project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    folder = tmp_path_factory.mktemp("systemd")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(project / "config"))
    return Systemd(folder)


def unit_of(cli: Cli) -> Path:
    document: Any = cli("service", "install", "--print", "-o", "json").json
    return Path(document["path"])


def settings(unit: str) -> dict[str, str]:
    lines = [line for line in unit.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_unit_starts_this_projects_daemon_and_gives_it_no_right_it_does_not_need(
    cli: Cli, project: Path, systemd: Systemd
) -> None:
    said = cli("service", "install", "--print")
    assert (said.code, said.err) == (0, "")
    found = settings(said.out)
    assert shlex.split(found["ExecStart"]) == [
        sys.executable, "-P", "-m", "wfd", "--project", str(project / "wfctl.toml"),
    ]  # fmt: skip
    assert found["WorkingDirectory"] == str(project)
    assert shlex.split(found["Environment"]) == [f"WFCTL_SOCKET={project / 'd.sock'}"]
    assert shlex.split(found["ReadWritePaths"]) == [f"-{project}", f"-{project / '.wfctl'}"]
    assert (found["Restart"], found["RestartPreventExitStatus"]) == ("on-failure", "2 5 6 7")
    assert (found["StartLimitIntervalSec"], found["RestartSec"]) == ("0", "5"), "a full disk may stay full for a while"
    assert (found["NoNewPrivileges"], found["ProtectSystem"], found["UMask"]) == ("yes", "full", "0077")
    assert found["WantedBy"] == "default.target"
    assert "@" not in said.out
    assert systemd.calls == []
    assert not (project / "config").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(
    cli: Cli, project: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = project / 'a "b" $HOME 100% c\\d é'
    odd.mkdir()
    (odd / "wfctl.toml").write_text("")
    document: Any = cli("service", "install", "--print", "--project", str(odd), "-o", "json").json
    file = project / document["unit"]
    file.write_text(document["text"])
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(file)], capture_output=True, text=True, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(project)},
    )  # fmt: skip
    assert (done.returncode, file.name in done.stderr) == (0, False), done.stderr


def test_install_writes_enables_and_starts_and_a_second_time_only_starts(
    cli: Cli, project: Path, systemd: Systemd
) -> None:
    path = unit_of(cli)
    assert path.parent == project / "config" / "systemd" / "user"
    first = cli("service", "install")
    assert (first.code, first.out) == (0, "")
    assert first.err.startswith(f"installed {path}\nsee it: systemctl --user status {path.name}\n")
    assert path.read_text() == cli("service", "install", "--print").out
    assert systemd.calls == [
        f"is-active --quiet {path.name}", "daemon-reload", f"enable {path.name}", f"restart {path.name}",
    ]  # fmt: skip
    again: Any = cli("service", "install", "-o", "json").json
    assert again == {"schema": "wfctl.service/1", "unit": path.name, "path": str(path), "changed": False}
    assert systemd.calls[-1] == f"start {path.name}"
    assert cli("service", "install", "-o", "id").out == f"{path.name}\n"


def test_uninstall_stops_and_removes_and_is_content_when_there_is_nothing(cli: Cli, systemd: Systemd) -> None:
    path = unit_of(cli)
    cli("service", "install")
    assert systemd.calls
    assert cli("service", "uninstall").err == f"removed {path}\n"
    assert systemd.calls == [f"disable --now {path.name}", "daemon-reload"]
    assert not path.exists()
    assert cli("service", "uninstall") == (0, "", f"was not there: {path}\n")
    assert systemd.calls == []


def test_the_file_alone_can_be_changed(cli: Cli, systemd: Systemd) -> None:
    assert "start it: systemctl --user daemon-reload &&" in cli("service", "install", "--no-now").err
    assert unit_of(cli).exists()
    cli("service", "uninstall", "--no-now")
    assert not unit_of(cli).exists()
    assert systemd.calls == []


def test_a_unit_of_another_origin_is_left_as_it_is(cli: Cli, systemd: Systemd) -> None:
    path = unit_of(cli)
    path.parent.mkdir(parents=True)
    path.write_text("[Unit]\n")
    for action in ("install", "uninstall"):
        said = cli("service", action)
        assert said.code == 5
        assert "is not a unit of wfctl's" in said.err
    assert path.read_text() == "[Unit]\n"


def test_a_daemon_that_was_started_by_hand_is_in_the_way(cli: Cli, systemd: Systemd, daemon: Start) -> None:
    daemon(
        status=StatusView(
            pid=4121, version="0.1.0", project="/shop", config="/shop/wfctl.toml", socket="/s", database="/d",
            database_bytes=1, log="/l", started_at=NOW, now=NOW, generation=1, source_hash="", python="3", counts={},
            workers=[], queued_steps=0,
        )
    )  # fmt: skip
    said = cli("service", "install")
    assert said.code == 5
    assert "not this service's (pid 4121)" in said.err
    assert not unit_of(cli).exists()
    systemd.active.touch()
    assert cli("service", "install").code == 0


def test_what_systemd_says_no_to_is_told(cli: Cli, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd.broken.touch()
    said = cli("service", "install")
    assert said.code == 5
    assert "'systemctl --user daemon-reload' exited with 1\n  Failed to connect to bus\n" in said.err
    monkeypatch.setenv("PATH", "/nowhere")
    none = cli("service", "install")
    assert none.code == 2
    assert "there is no systemd here" in none.err
    assert cli("service", "install", "--print").code == 0


def test_what_keeps_the_unit_from_being_removed_is_told_with_what_removes_it(
    cli: Cli, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = unit_of(cli)
    cli("service", "install")
    alone = "  try: wfctl service uninstall --no-now\n"
    systemd.broken.touch()
    said = cli("service", "uninstall")
    assert said.code == 5
    assert said.err == (
        f"error[conflict]: 'systemctl --user disable --now {path.name}' exited with 1\n  Failed to connect to bus\n{alone}"
    )
    monkeypatch.setattr("wfctl.cli.commands.service._SYSTEMCTL_S", 0.0)
    slow = cli("service", "uninstall")
    assert (slow.code, slow.err.endswith(alone)) == (14, True)
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli("service", "uninstall").err == (
        f"error[usage]: there is no systemd here: systemctl is not found\n{alone}"
    )
    assert path.exists()
    path.write_text("[Unit]\n")
    assert cli("service", "uninstall").err.endswith("left as it is\n  hint: remove it yourself, if nothing needs it\n")
    path.unlink()
    assert cli("service", "uninstall") == (0, "", f"was not there: {path}\n")


def test_an_action_that_is_none_names_the_nearest(cli: Cli, systemd: Systemd) -> None:
    said = cli("service", "instal")
    assert said.code == 2
    assert "did you mean 'install'?" in said.err
    assert cli("service", "uninstall", "--print").code == 2


def test_projects_of_one_name_have_units_of_their_own(cli: Cli, project: Path, systemd: Systemd) -> None:
    names = set()
    for parent in ("a", "b"):
        folder = project / parent / "my shop"
        folder.mkdir(parents=True)
        (folder / "wfctl.toml").write_text("")
        names.add(cli("service", "install", "--print", "--project", str(folder), "-o", "id").out.strip())
    assert len(names) == 2
    assert all(name.startswith("wfctl-my-shop-") for name in names)
