"""The README, done as a reader would do it: its files written, its commands typed, its outputs compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"<!-- (?:file: (?P<file>\S+)|run) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)


def _commands(block: str) -> list[tuple[str, str]]:
    """(command, expected output) of a console block."""
    parts = re.split(r"^\$ (.*)$", block, flags=re.MULTILINE)
    return [(command, expected.strip("\n")) for command, expected in zip(parts[1::2], parts[2::2], strict=True)]


def _matches(expected: str, got: str) -> bool:
    """Line by line in order; `...` in a line stands for anything, a line of its own for any number of lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "..." else r".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected.splitlines()
    )
    return re.fullmatch(pattern, got if not got or got.endswith("\n") else got + "\n") is not None


def test_every_block_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    text = README.read_text()
    blocks = list(BLOCK.finditer(text))
    fenced = re.findall(r"^```(\w+)$", text, flags=re.MULTILINE)
    assert len(blocks) == len(fenced) - 1, "every block but the two make commands is written or run here"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WFCTL_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "XDG_RUNTIME_DIR": "",
        "LANG": "C.UTF-8",
    }
    try:
        for block in blocks:
            if block["file"]:
                (tmp_path / block["file"]).write_text(block["text"])
                continue
            for command, expected in _commands(block["text"]):
                done = subprocess.run(
                    ["bash", "-c", f"{command} 2>&1"], cwd=tmp_path, env=environment, capture_output=True, text=True,
                    timeout=60, check=False,
                )  # fmt: skip
                assert _matches(expected, done.stdout), f"$ {command}\nexpected:\n{expected}\ngot:\n{done.stdout}"
    finally:
        subprocess.run(
            ["wfctl", "down", "--timeout", "1s"], cwd=tmp_path, env=environment, capture_output=True, check=False
        )


def test_the_two_make_commands_are_there() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README.read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
