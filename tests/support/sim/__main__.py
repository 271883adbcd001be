"""`make simulate SEED=7` runs one seed and prints what happened; without a seed, one after the other until one fails."""

from __future__ import annotations

import itertools
import os
import sys
import time

from support.sim.world import World


def main(arguments: list[str]) -> int:
    if arguments:
        trace: list[str] = []
        problems = World(int(arguments[0]), trace=trace).run()
        print("\n".join([*trace, *(problems or ["every promise was kept"])]))
        return bool(problems)
    limit = int(os.environ.get("SEEDS") or 0)
    first = int(os.environ.get("FIRST") or time.time_ns() // 1_000_000)
    began = time.monotonic()
    for count, seed in enumerate(itertools.count(first), 1):
        problems = World(seed).run()
        if problems:
            print(f"seed {seed}: {problems[0]}\nmake simulate SEED={seed}")
            return 1
        if count % 500 == 0 or count == limit:
            print(f"{count} seeds from {first}, {count / (time.monotonic() - began):.0f} a second")
        if count == limit:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
