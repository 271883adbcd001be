"""Named SQL: each file under `sql/` is a list of `-- name: xyz` blocks. Owns the reading of them, and nothing of their meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(stem: str) -> Mapping[str, str]:
    """The queries of `sql/STEM.sql` by name; a name given twice or before no SQL is an error of ours."""
    parts = _NAME.split((HERE / "sql" / f"{stem}.sql").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        if name in found or not text.strip():
            raise ValueError(f"sql/{stem}.sql: query {name!r} is empty or defined twice")
        found[name] = text.strip()
    return found


def migrations() -> Iterator[tuple[int, str, str]]:
    """(version, file name, SQL) of each migration, oldest first."""
    for path in sorted((HERE / "migrations").glob("[0-9]*.sql")):
        yield int(path.name[:4]), path.name, path.read_text(encoding="utf-8")
