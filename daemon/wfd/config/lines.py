"""Where a key stands in a TOML text: the parser keeps no positions, and a message without a line is half a message.

A search, not a parse: it only has to find what a person would look for, and gives 0 where it does not.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")


def line_of_key(text: str, table: str, key: str) -> int:
    """The line (from 1) of `key` in `[table]`, "" being the top; else the table's own line, else 0."""
    quoted = _spellings(key)
    plain = re.compile(rf"\s*{quoted}\s*[=.]")
    dotted = re.compile(rf"\s*{_spellings(table)}\s*\.\s*{quoted}\s*[=.]") if table else None
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            current = _bare(header[1])
            # `[daemon.colour]` writes the key `colour` of daemon as a header.
            if table and current.split(".")[:2] == [table, key]:
                return number
        elif (current == table and plain.match(line)) or (not current and dotted is not None and dotted.match(line)):
            return number
    return line_of_table(text, table) if table else 0


def line_of_limit(text: str, workflow_type: str) -> int:
    """The line (from 1) of a type in [workflows.limits], else of that table, else 0."""
    dotted = re.compile(rf"\s*(?:workflows\s*\.\s*)?limits\s*\.\s*{_spellings(workflow_type)}\s*=")
    plain = re.compile(rf"\s*{_spellings(workflow_type)}\s*=")
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            inside = _bare(header[1]) == "workflows.limits"
        elif (inside and plain.match(line)) or dotted.match(line):
            return number
    return line_of_key(text, "workflows", "limits")


def line_of_table(text: str, table: str) -> int:
    """The line (from 1) of the header `[table]`, of `table = {...}` or of `table.key = ...`; 0 where there is none."""
    inline = re.compile(rf"\s*{_spellings(table)}\s*[=.]")
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            inside = True
            if _bare(header[1]).split(".")[0] == table:
                return number
        elif not inside and inline.match(line):
            return number
    return 0


def _spellings(key: str) -> str:
    return rf"[\"']?{re.escape(key)}[\"']?"


def _bare(header: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in header.split("."))
