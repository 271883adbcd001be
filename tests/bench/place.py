"""A project in a temporary folder with its daemon, as a person would run it; and what its processes cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from wfctl import Client

FLOWS = Path(__file__).with_name("flows.py")
_WFCTL = [sys.executable, "-m", "wfctl.cli.main"]
_TICKS = os.sysconf("SC_CLK_TCK")


class Place:
    """Use as `with Place() as place:`; the daemon is up inside. The folder is made in BENCH_DIR, where that is set. `more` goes
    into its wfctl.toml, `state` is the folder of a database to go on with, which is kept."""

    def __init__(
        self, *, durability: str = "full", reload: bool = False, more: str = "", state: Path | None = None
    ) -> None:
        self._made = tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR"), ignore_cleanup_errors=True)
        self.folder = Path(self._made.name)
        self.socket = self.folder / "bench.sock"
        self.flows = self.folder / "flows.py"
        self.flows.write_bytes(FLOWS.read_bytes())
        self.state = state or self.folder / ".wfctl"
        self.database = self.state / "wfctl.db"
        (self.folder / "wfctl.toml").write_text(
            f'[daemon]\nstate = "{self.state}"\ndurability = "{durability}"\n'
            f'[workflows]\nmodules = ["flows.py"]\nreload = {str(reload).lower()}\n{more}'
        )
        self._environment = {**os.environ, "WFCTL_SOCKET": str(self.socket)}

    def __enter__(self) -> Place:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        self._made.cleanup()

    def cli(self, *words: str) -> float:
        """Run a command of wfctl; the seconds it took."""
        begun = time.perf_counter()
        subprocess.run([*_WFCTL, *words], cwd=self.folder, env=self._environment, check=True, capture_output=True)
        return time.perf_counter() - begun

    def up(self) -> float:
        return self.cli("up", "-q")

    def down(self) -> float:
        return self.cli("down", "-q")

    def database_bytes(self) -> int:
        """The size of the database. Exact while the daemon is down: then nothing is left in the log."""
        return self.database.stat().st_size


def copied(state: Path, to: str) -> Path:
    """A folder with a copy of the database there that is on the disk already, or the first sync of a daemon waits for all of it."""
    shutil.copy(state / "wfctl.db", to)
    os.sync()
    return Path(to)


class Pids:
    """The processes of a daemon, and this one, which is the client. `writers` is the one that writes the database."""

    def __init__(self, daemon: int, writers: list[int], workers: list[int]) -> None:
        self.daemon = daemon
        self.writers = writers
        self.workers = workers

    @classmethod
    async def of(cls, client: Client) -> Pids:
        status = await client.status()
        children = Path(f"/proc/{status.pid}/task/{status.pid}/children").read_text().split()
        writers = [int(pid) for pid in children if b"wfd.store.apart" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return cls(status.pid, writers, [worker.pid for worker in status.workers])

    def cpu_ms(self) -> dict[str, float]:
        """Processor time used so far, user and system."""
        return {
            "daemon": _cpu_ms(self.daemon),
            "writer": sum(map(_cpu_ms, self.writers)),
            "workers": sum(map(_cpu_ms, self.workers)),
            "client": time.process_time() * 1_000,
        }

    def memory_bytes(self) -> int:
        """What the daemon holds in memory."""
        return resident_bytes(self.daemon)


def resident_bytes(pid: int) -> int:
    """What a process holds in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def own_bytes(pid: int) -> int:
    """What a process holds in memory of its own, without files that are mapped: SQLite maps the index of its log, which a reader
    that stays makes long, and does not shorten it."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) << 10


def open_files(pid: int) -> int:
    """How many file descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1_000 / _TICKS
