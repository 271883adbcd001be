"""The benchmark suite: a table to read and JSON to keep. `--quick` takes less than a minute.

    python tests/bench/run.py [--quick] [--json FILE] [--durability full|normal]

Figures drift from machine to machine and from minute to minute, so the ones to quote are ratios of one run. Nothing here is a
test: a figure that is worse than it was has to be looked at, not to fail a build.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import time
from pathlib import Path
from typing import Any

import fairness
import growth
import moments
import orders
import overdue
import purging
from place import Place

from wfctl import __version__

QUICK: dict[str, Any] = {
    "orders": 600, "at": [1, 50, 300], "rounds": 1, "events": 50, "commands": 3, "reloads": 2,
    "closed": 10_000, "looks": (20, 150, 1), "children": 500, "disk": 200,
    "starts": 1_000, "floods": [1], "purge": (200, 500, 150), "purge_past": (500, 150),
    "overdue": (1_000, 1),
}  # fmt: skip
WHOLE: dict[str, Any] = {
    "orders": 3_000, "at": [1, 50, 300], "rounds": 5, "events": 500, "commands": 15, "reloads": 10,
    "closed": 1_000_000, "looks": (500, 1_000, 3), "children": 10_000, "disk": 3_000,
    "starts": 10_000, "floods": [1, 20], "purge": (3_000, 10_000, 500), "purge_past": (10_000, 500),
    "overdue": (100_000, 3),
}  # fmt: skip


def about(durability: str) -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "wfctl": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "durability": durability,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure(size: dict[str, Any], durability: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"about": about(durability)}
    with Place(durability=durability) as place:
        figures["orders"] = orders.measure(place, size["orders"], size["at"], size["rounds"])
        figures["event"] = asyncio.run(moments.event(place, size["events"]))
        figures["commands"] = moments.commands(place, size["commands"])
        figures["fairness"] = [asyncio.run(fairness.measure(place, size["starts"], many)) for many in size["floods"]]
        figures["family"] = growth.family(place, size["children"])
    figures["growth"] = growth.past(size["closed"], *size["looks"])
    figures["reload"] = asyncio.run(moments.reloads(size["reloads"]))
    figures["disk"] = growth.disk(size["disk"])
    figures["purge"] = purging.measure(*size["purge"]) | {"past": purging.past(size["closed"], *size["purge_past"])}
    figures["overdue"] = overdue.measure(*size["overdue"])
    return figures


def show(figures: dict[str, Any]) -> None:
    print(", ".join(f"{name} {value}" for name, value in figures["about"].items()))
    print(
        "\norders: a parent, its child, five steps, a task and an event each; the floor does the same without features"
    )
    orders.show(figures["orders"])
    print("\nto wait for                                         p50 ms")
    print(f"an event, until its handler's directive is committed {figures['event']['p50_ms']:>6.1f}")
    print(f"a saved file, until a step runs on it                {figures['reload']['p50_ms']:>6.0f}")
    for name, row in figures["commands"].items():
        print(f"{name:<52} {row['ms']:>6.0f}  {row['typer_ratio']:.2f} of importing typer")
    for row in figures["fairness"]:
        fairness.show(row)
    print()
    growth.show(figures["growth"])
    growth.show_family(figures["family"])
    print(f"\nthe database grows by {figures['disk']['bytes_per_order']:,.0f} bytes an order\n")
    purging.show(figures["purge"])
    overdue.show(figures["overdue"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything: under a minute")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--durability", choices=["full", "normal"], default="full")
    arguments = parser.parse_args()
    found = measure(QUICK if arguments.quick else WHOLE, arguments.durability)
    show(found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
