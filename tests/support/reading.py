"""Another program that has the database open."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_READS = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
{}
print("there", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another(path: Path, does: str) -> Iterator[int]:
    """The process ID of a program that has opened the database and done that."""
    command = [sys.executable, "-c", _READS.format(does), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        yield process.pid
        process.communicate()
