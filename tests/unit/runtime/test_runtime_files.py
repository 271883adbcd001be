"""The limit of open files is raised, and never lowered."""

from __future__ import annotations

import subprocess
import sys

CODE = "import resource; from wfd.runtime.files import most_files; print(most_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))"


def _limits(soft: int, hard: int) -> list[int]:
    before = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
    done = subprocess.run([sys.executable, "-c", before + CODE], check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def test_the_limit_of_open_files_is_raised_as_far_as_the_system_lets_us_and_never_lowered() -> None:
    assert _limits(128, 512) == [512, 512, 512]
    assert _limits(300, 300) == [300, 300, 300]
