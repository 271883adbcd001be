"""What a worker process alone costs an order: this program plays the daemon, and answers everything at once.

python tests/bench/worker.py [--orders 3000] [--at 16] [--turns 5] [--against TREE]

With `--against`, another tree's worker is measured by that tree's own copy of this file, in turns, and the ratio is printed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from wfctl.protocol import channel
from wfctl.protocol.frames import FrameBuffer, pack
from wfctl.values.runinfo import ParentInfo, RunInfo

TREE = Path(__file__).resolve().parents[2]
_json = msgspec.json.encode


class Orders:
    """The messages a daemon would send for orders, as answers to those of the worker."""

    def __init__(self) -> None:
        self.closed = 0
        self._tokens = itertools.count(1)
        self._runs: dict[int, tuple[RunInfo, dict[str, bytes]]] = {}
        self._parents: dict[str, tuple[RunInfo, dict[str, bytes]]] = {}

    def _step(self, run: RunInfo, store: dict[str, bytes], kind: str, handler: str, kwargs: bytes) -> channel.RunStep:
        token = next(self._tokens)
        self._runs[token] = run, store
        return channel.RunStep(token, run.workflow_type, _json(run), kind, handler, kwargs, store, [])

    def begin(self, number: int) -> channel.RunStep:
        run = RunInfo(f"{number:025d}A", f"order-{number}", "Order", root_id=f"{number:025d}A", started_at_ms=1)
        kwargs = _json({"order_id": f"b-{number}", "amount": 9.99})
        return self._step(run, {}, "start", "place", kwargs)

    def answer(self, message: Any) -> list[Any]:
        run, store = self._runs[message.token]
        if isinstance(message, channel.Op):
            arguments = msgspec.json.decode(message.args)
            if message.kind == "child":
                self._parents[run.id] = run, store
                parent = ParentInfo(run.id, run.workflow_id, run.workflow_type)
                child = RunInfo(run.id[:-1] + "B", arguments["workflow_id"], message.name, parent, run.id, 1, 1)
                done = channel.OpDone(message.token, message.op, _json(child))
                return [done, self._step(child, {}, "start", "begin", _json(arguments["input"]))]
            if message.kind == "parent_event":
                assert run.parent is not None
                done = channel.OpDone(message.token, message.op, _json({"outcome": "dispatched"}))
                parent_run, parent_store = self._parents.pop(run.parent.id)
                return [done, self._step(parent_run, parent_store, "event", "paid", _json(arguments["payload"]))]
            assert message.kind == "task_at_once", message
            return [channel.OpDone(message.token, message.op)]
        assert isinstance(message, channel.StepDone), message
        del self._runs[message.token]
        store.update(message.put)
        if message.directive == "step":
            return [self._step(run, store, "step", message.name, b"{}")]
        self.closed += message.directive == "complete" and run.parent is None
        return []


def measure(orders: int, at_a_time: int) -> float:
    """Processor time of a worker, in ms an order."""
    mine, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as project, mine:
        (Path(project) / "flows.py").write_bytes(Path(__file__).with_name("flows.py").read_bytes())
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "wfd.worker", "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], cwd=project,
        )  # fmt: skip
        theirs.close()
        frames = channel.to_daemon_frames()
        mine.sendall(pack(channel.Load(project, ["flows.py"], ["."], 1)))
        while not any(isinstance(message, channel.Loaded) for message in frames.feed(mine.recv(1 << 16))):
            pass
        _drive(mine, frames, range(orders // 10), at_a_time)
        before = _cpu_ns(worker.pid)
        _drive(mine, frames, range(orders // 10, orders // 10 + orders), at_a_time)
        spent = _cpu_ns(worker.pid) - before
        mine.close()
        worker.wait()
    return spent / orders / 1e6


def measure_in(tree: Path, orders: int, at_a_time: int) -> float:
    program = [sys.executable, str(tree / "tests/bench/worker.py"), "--turns", "1"]
    paths = os.pathsep.join([str(tree), str(tree / "daemon")])
    shown = subprocess.run(
        [*program, "--orders", str(orders), "--at", str(at_a_time)],
        env={**os.environ, "PYTHONPATH": paths}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(shown.stdout.split()[-1])


def _drive(mine: socket.socket, frames: FrameBuffer, numbers: range, at_a_time: int) -> None:
    book = Orders()
    left = iter(numbers)
    out: list[Any] = [book.begin(number) for number in itertools.islice(left, at_a_time)]
    while book.closed < len(numbers):
        mine.sendall(pack(*out))
        out = []
        for message in frames.feed(mine.recv(1 << 20)):
            closed = book.closed
            out += book.answer(message)
            out += [book.begin(number) for number in itertools.islice(left, book.closed - closed)]


def _cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=3000)
    parser.add_argument("--at", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    if options.against is None:
        rows = [[measure(options.orders, options.at)] for _ in range(options.turns)]
    else:
        trees = [TREE, options.against]
        rows = [[measure_in(tree, options.orders, options.at) for tree in trees] for _ in range(options.turns)]
    print("ms an order:", *(f"{statistics.median(column):.3f}" for column in zip(*rows, strict=True)))
    if options.against is not None:
        print(f"ratio: {statistics.median(own / other for own, other in rows):.3f}")


if __name__ == "__main__":
    main()
