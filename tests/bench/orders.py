"""Orders through the real daemon, its workers and `Client`, against the floor in the same run.

    python tests/bench/orders.py [--orders 1000] [--at 1 50 300] [--json FILE]

Rates drift from machine to machine and from minute to minute; the ratio is the figure to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from floor import drive

from wfctl import Client, __version__

HERE = Path(__file__).parent
CONFIG = '[workflows]\nmodules = ["flows.py"]\nreload = false\n'


def floor(orders: int, concurrency: int) -> dict[str, float]:
    command = [sys.executable, str(HERE / "floor.py"), str(orders), str(concurrency)]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


async def engine(socket: Path, orders: int, concurrency: int, tag: str) -> dict[str, float]:
    async with Client.connect(socket=socket) as client:

        async def one(number: int) -> None:
            order_id = f"{tag}-{concurrency}-{number}"
            result = await client.run(
                "Order", workflow_id=f"order-{order_id}", workflow_input={"order_id": order_id, "amount": 9.99}
            )
            assert result == "txn-1", result

        return await drive(one, orders, concurrency)


def measure(orders: int, at: list[int], repeat: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as made:
        project = Path(made)
        shutil.copy(HERE / "flows.py", project)
        (project / "wfctl.toml").write_text(CONFIG)
        socket = project / "bench.sock"
        environment = {**os.environ, "WFCTL_SOCKET": str(socket)}
        command = [sys.executable, "-m", "wfctl.cli.main"]
        subprocess.run([*command, "up"], cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)
        rows = []
        try:
            for round in range(repeat):
                for concurrency in at:
                    count = max(50, orders // 5) if concurrency == 1 else orders
                    ours = asyncio.run(engine(socket, count, concurrency, f"r{round}"))
                    base = floor(count, concurrency)
                    rows.append({"at": concurrency, "orders": count, "wfctl": ours, "floor": base})
            size = (project / ".wfctl" / "wfctl.db").stat().st_size
        finally:
            subprocess.run([*command, "down"], cwd=project, env=environment, check=False, stdout=subprocess.DEVNULL)
    total = sum(row["orders"] + 1 for row in rows)  # type: ignore[operator, misc]
    return {
        "wfctl": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "durability": "full",
        "database_bytes_per_order": size // total,
        "rows": rows,
    }


def show(figures: dict[str, object]) -> None:
    print(
        f"{'at':>4} {'wfctl/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'floor/s':>9} {'p50 ms':>8} {'rate ratio':>11} {'p50 ratio':>10}"
    )
    rows: list[dict[str, dict[str, float]]] = figures["rows"]  # type: ignore[assignment]
    for row in rows:
        ours, base = row["wfctl"], row["floor"]
        print(
            f"{row['at']:>4} {ours['rate']:>9.0f} {ours['p50_ms']:>8.1f} {ours['p99_ms']:>8.1f} {base['rate']:>9.0f}"
            f" {base['p50_ms']:>8.1f} {ours['rate'] / base['rate']:>11.2f} {ours['p50_ms'] / base['p50_ms']:>10.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000)
    parser.add_argument("--at", type=int, nargs="+", default=[1, 50, 300])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.orders, arguments.at, arguments.repeat)
    show(figures)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
