"""Reads and checks `wfctl.toml`. All that is wrong with it is said at once, each with its line and the remedy.

A listed module that does not exist is no error here: the workers report it as a problem, and serve the others.
"""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import tomli

from wfctl.errors import ConfigError, InvalidArgumentError
from wfctl.values.causes import cannot
from wfctl.values.project import MAX_SOCKET_PATH_BYTES, STATE_NAME, socket_path
from wfctl.values.status import Status
from wfctl.values.times import parse_duration
from wfd.config.lines import line_of_key, line_of_limit, line_of_table
from wfd.config.settings import Config, Durability, Source

MAX_WORKERS = 64
MAX_CRASHES = 100
MAX_LIMIT = 10_000
DURABILITIES = get_args(Durability)
_TABLES: dict[str, tuple[str, ...]] = {
    "daemon": ("state", "workers", "crash_limit", "durability"),
    "workflows": ("modules", "path", "python", "reload", "limits"),
    "retention": tuple(str(status) for status in Status if status.closed),
}
_DEFAULTS: dict[str, Any] = {
    "state": STATE_NAME,
    "workers": 2,
    "crash_limit": 5,
    "durability": "full",
    "path": ["."],
    "python": None,
    "reload": True,
}


def load(config_file: Path) -> Config:
    """The configuration in `config_file`, or ConfigError that tells every problem with file, line and remedy."""
    file = Path(os.path.abspath(config_file))
    return _Reader(file, _read(file)).config()


def _read(file: Path) -> str:
    try:
        # Some editors begin UTF-8 text with a mark that says it is that.
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{file.name}:{line}: not UTF-8 text ({error.reason})",
            hint=f"save {file} as UTF-8",
            file=str(file),
            line=line,
        ) from None
    except OSError as error:
        hint = cannot("read", file, error, otherwise="name another project with --project").hint
        raise ConfigError(f"cannot read {file}: {error.strerror}", hint=hint, file=str(file)) from None


class _Reader:
    """One file being checked; `problems` grows, and `config` raises when there are any."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.project = file.parent
        self.text = text
        self.problems: list[tuple[int, str]] = []
        self.sources: dict[str, Source] = {}

    def config(self) -> Config:
        given = self._settings()
        limits = given.get("limits", {})
        values: dict[str, Any] = {
            name: given.get(name, _DEFAULTS.get(name)) for table in ("daemon", "workflows") for name in _TABLES[table]
        }
        self.sources |= {name: "wfctl.toml" if name in given else "default" for name in values}
        self.sources["retention"] = "wfctl.toml" if given.keys() & set(_TABLES["retention"]) else "default"
        self._check_number("daemon", "workers", values["workers"], MAX_WORKERS)
        self._check_number("daemon", "crash_limit", values["crash_limit"], MAX_CRASHES)
        self._check_text("daemon", "state", values["state"])
        self._check_choice("daemon", "durability", values["durability"], DURABILITIES)
        self._check_modules(given)
        self._check_texts("path", values["path"])
        retention = self._retention(given)
        python = self._python(values["python"])
        if not isinstance(values["reload"], bool):
            self._problem("workflows", "reload", f"reload must be true or false, not {_kind(values['reload'])}")
        lines = self._check_limits(limits)
        socket = self._socket()
        self._raise()
        return Config(
            project=self.project,
            file=self.file,
            state=self._absolute(values["state"]),
            socket=socket,
            workers=values["workers"],
            crash_limit=values["crash_limit"],
            durability=values["durability"],
            modules=tuple(values["modules"]),
            path=tuple(self._absolute(entry) for entry in values["path"]),
            python=python,
            reload=values["reload"],
            limits=limits,
            limit_lines=lines,
            retention=retention,
            sources=self.sources,
        )

    def _settings(self) -> dict[str, Any]:
        """The known settings by name; unknown tables and keys become problems."""
        try:
            document = tomli.loads(self.text)
        except tomli.TOMLDecodeError as error:
            where = f"{self.file.name}:{error.lineno}:{error.colno}"
            raise ConfigError(
                f"{where}: {error.msg}", hint="correct the TOML there", file=str(self.file), line=error.lineno
            ) from None
        given: dict[str, Any] = {}
        for name, value in document.items():
            if name not in _TABLES:
                self._unknown_at_top(name, value)
            elif not isinstance(value, Mapping):
                self._problem("", name, f"{name} must be a table, not {_kind(value)}; write [{name}]")
            else:
                for key in value:
                    if key not in _TABLES[name]:
                        advice = _nearest(key, _TABLES[name]) or _elsewhere(key) or _choices(_TABLES[name])
                        self._problem(name, key, f"unknown key {key!r} in [{name}]; {advice}")
                given |= {key: item for key, item in value.items() if key in _TABLES[name]}
        return given

    def _unknown_at_top(self, name: str, value: Any) -> None:
        if isinstance(value, Mapping | list):
            near = difflib.get_close_matches(name, _TABLES, n=1)
            advice = f"did you mean [{near[0]}]?" if near else "there are [daemon], [workflows] and [retention]"
            line = line_of_table(self.text, name) or line_of_key(self.text, "", name)
            self._problem_at(line, f"unknown table [{name}]; {advice}")
        else:
            advice = _elsewhere(name) or "settings stand in [daemon], [workflows] and [retention]"
            self._problem("", name, f"unknown key {name!r} outside any table; {advice}")

    def _check_number(self, table: str, key: str, value: Any, most: int) -> None:
        if isinstance(value, float):
            self._problem(table, key, f"{key} must be a whole number, not {value}")
        elif isinstance(value, bool) or not isinstance(value, int):
            self._problem(table, key, f"{key} must be a number, not {_kind(value)}")
        elif not 1 <= value <= most:
            self._problem(table, key, f"{key} must be from 1 to {most}, not {value}")

    def _check_choice(self, table: str, key: str, value: Any, choices: tuple[str, ...]) -> None:
        if not isinstance(value, str) or value not in choices:
            near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
            advice = f"; did you mean {near[0]!r}?" if near else ""
            known = " or ".join(f'"{choice}"' for choice in choices)
            self._problem(table, key, f"{key} must be {known}, not {_kind(value)}{advice}")

    def _check_modules(self, given: Mapping[str, Any]) -> None:
        if "modules" not in given:
            line = line_of_table(self.text, "workflows")
            self._problem_at(line, 'no modules; write modules = ["flows.py"] under [workflows]')
            return
        modules = given["modules"]
        if modules == []:
            self._problem("workflows", "modules", 'modules is empty; name at least one file, as in ["flows.py"]')
        elif self._check_texts("modules", modules):
            for twice in sorted({name for name in modules if modules.count(name) > 1}):
                self._problem("workflows", "modules", f"modules names {twice!r} more than once; remove one")
            path = given.get("path", _DEFAULTS["path"])
            if _are_texts(path):
                self._check_spellings(modules, [self._absolute(folder) for folder in path])

    def _check_spellings(self, modules: Sequence[str], path: Sequence[Path]) -> None:
        """None is named both as a file and by its dotted name, or by two paths."""
        known: dict[Path, str] = {}
        for name in dict.fromkeys(modules):
            file = self._absolute(name) if name.endswith(".py") or os.sep in name else _found(name, path)
            first = known.setdefault(file, name) if file is not None else name
            if first != name:
                self._problem("workflows", "modules", f"modules names one module as {first!r} and {name!r}; remove one")

    def _check_limits(self, limits: Any) -> dict[str, int]:
        """The line of each limit by its type. Whether there is such a type, only the code can tell."""
        if not isinstance(limits, Mapping):
            advice = "write [workflows.limits], and under it lines such as Payment = 5"
            self._problem("workflows", "limits", f"limits must be a table, not {_kind(limits)}; {advice}")
            return {}
        lines = {}
        for name, limit in limits.items():
            lines[name] = line_of_limit(self.text, name)
            what = f"the limit of {name!r} in [workflows.limits]"
            if isinstance(limit, bool) or not isinstance(limit, int):
                found = f"{limit}" if isinstance(limit, float) else _kind(limit)
                self._problem_at(lines[name], f"{what} must be a whole number, not {found}")
            elif not 1 <= limit <= MAX_LIMIT:
                advice = "; remove the line for no limit" if limit > MAX_LIMIT else ""
                self._problem_at(lines[name], f"{what} must be from 1 to {MAX_LIMIT:,}, not {limit}{advice}")
        return lines

    def _check_texts(self, key: str, value: Any) -> bool:
        if not isinstance(value, list):
            shape = f"[{value!r}]".replace("'", '"') if isinstance(value, str) else '["..."]'
            self._problem("workflows", key, f"{key} must be a list, not {_kind(value)}; write {key} = {shape}")
            return False
        bad = [item for item in value if not _is_text(item)]
        for item in bad:
            found = f"the text {item!r}" if isinstance(item, str) else _kind(item)
            self._problem("workflows", key, f"{key} must hold names and paths; it holds {found}")
        return not bad

    def _check_text(self, table: str, key: str, value: Any) -> bool:
        if _is_text(value):
            return True
        found = f"the text {value!r}" if isinstance(value, str) else _kind(value)
        self._problem(table, key, f"{key} must be a path, not {found}")
        return False

    def _retention(self, given: Mapping[str, Any]) -> dict[Status, int]:
        """How long runs of each status are kept; statuses without a word about them are kept for ever."""
        kept: dict[Status, int] = {}
        for name in _TABLES["retention"]:
            value = given.get(name)
            if value is None:
                continue
            try:
                ms = parse_duration(value) if isinstance(value, str) else 0
            except InvalidArgumentError:
                ms = 0
            if ms > 0:
                kept[Status(name)] = ms
            else:
                self._problem(
                    "retention", name, f'{name} must be a time to keep runs for, as "30d", not {_kind(value)}'
                )
        return kept

    def _python(self, value: Any) -> Path:
        """The workers' interpreter. Its path is not resolved: a virtual environment is found by its link's place."""
        fallback = Path(sys.executable)
        if value is None or not self._check_text("workflows", "python", value):
            return fallback
        if os.sep not in value and not self._absolute(value).exists():
            found = shutil.which(value)
            path = Path(os.path.abspath(found)) if found else self._absolute(value)
        else:
            path = self._absolute(value)
        if not path.is_file():
            advice = "create that environment, or remove the key to use wfctl's own Python"
            self._problem("workflows", "python", f"python {value!r} does not exist ({path}); {advice}")
        elif not os.access(path, os.X_OK):
            self._problem("workflows", "python", f"python {value!r} is not executable ({path}); name an interpreter")
        return path

    def _socket(self) -> Path:
        path = socket_path(self.file)
        override = os.environ.get("WFCTL_SOCKET")
        self.sources["socket"] = "WFCTL_SOCKET" if override else "default"
        size = len(os.fsencode(path))
        if size > MAX_SOCKET_PATH_BYTES:
            raise ConfigError(
                f"the socket path is {size} bytes; at most {MAX_SOCKET_PATH_BYTES} are possible: {path}",
                hint="set WFCTL_SOCKET to a shorter path",
                socket=str(path),
            )
        return path

    def _absolute(self, value: str) -> Path:
        return Path(os.path.abspath(self.project / os.path.expanduser(value)))

    def _problem(self, table: str, key: str, message: str) -> None:
        self._problem_at(line_of_key(self.text, table, key), message)

    def _problem_at(self, line: int, message: str) -> None:
        self.problems.append((line, f"{self.file.name}:{line}: {message}" if line else f"{self.file.name}: {message}"))

    def _raise(self) -> None:
        if not self.problems:
            return
        lines = [message for _, message in sorted(self.problems, key=lambda problem: problem[0])]
        heading = "" if len(lines) == 1 else f"{len(lines)} problems in {self.file}:\n  "
        raise ConfigError(
            heading + "\n  ".join(lines),
            hint=f"edit {self.file}",
            file=str(self.file),
            problems=lines,
        )


def _found(name: str, path: Sequence[Path]) -> Path | None:
    """The file of `path` that a dotted name leads to."""
    for folder in path:
        place = folder.joinpath(*name.split("."))
        for file in (place / "__init__.py", Path(f"{place}.py")):
            if file.is_file():
                return file
    return None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(item) for item in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _nearest(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _elsewhere(key: str) -> str:
    """Advice for a known key in the wrong place."""
    return next((f"it belongs in [{table}]" for table, keys in _TABLES.items() if key in keys), "")


def _choices(known: tuple[str, ...]) -> str:
    return f"known are {', '.join(known)}"


def _kind(value: Any) -> str:
    """A TOML value in a message: its kind, and itself where it is short."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {value!r}" if len(value) <= 40 else "a text"
        case int() | float():
            return f"the number {value}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"the time {value}"
