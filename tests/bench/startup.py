"""What a command costs to start, against what it is built on: the ratio is the figure to quote.

    python tests/bench/startup.py [ROUNDS]

The best of several rounds, taken in turns: other work on the machine only ever adds. Which modules a command imports is held by
a test; what they cost on this machine is told here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "bare python": ("-c", "pass"),
    "import typer": ("-c", "import typer"),
    "wfctl list -o id": ("-m", "wfctl.cli.main", "list", "-o", "id"),
    "wfctl status -q": ("-m", "wfctl.cli.main", "status", "-q"),
    "wfctl list": ("-m", "wfctl.cli.main", "list"),
}


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        project = Path(made)
        (project / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
        (project / "flows.py").write_bytes(Path(__file__).with_name("flows.py").read_bytes())
        environment = {**os.environ, "WFCTL_SOCKET": str(project / "s.sock")}

        def run(*words: str) -> float:
            begun = time.perf_counter()
            subprocess.run([sys.executable, *words], cwd=project, env=environment, check=True, capture_output=True)
            return time.perf_counter() - begun

        run("-m", "wfctl.cli.main", "up", "-q")
        try:
            best = dict.fromkeys(COMMANDS, float("inf"))
            for _ in range(rounds):
                for name, words in COMMANDS.items():
                    best[name] = min(best[name], run(*words))
        finally:
            run("-m", "wfctl.cli.main", "down", "-q")
    for name, took in best.items():
        print(f"{name:<20} {took * 1_000:>6.0f} ms  {took / best['import typer']:>5.2f} of typer")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
