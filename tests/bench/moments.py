"""How long a person or a program waits: for an event's step, for a command, for saved code to be used."""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import time

from place import Place

from wfctl import Client

Figures = dict[str, float]
# Those that draw nothing, to be at most 1.4 times as long as importing typer; and those that draw, twice at most.
COMMANDS = {
    "wfctl status -q": ("status", "-q"),
    "wfctl list -o id": ("list", "-o", "id"),
    "wfctl list -o json": ("list", "-o", "json"),
    "wfctl start": ("start", "Version"),
    "wfctl start -o json": ("start", "Version", "--input", "null", "-o", "json"),
    "wfctl --help": ("--help",),
    "a tab for an ID": ("__complete", "line", "wfctl show v"),
    "wfctl status, drawn": ("status", "--color", "always"),
    "wfctl list, drawn": ("list", "--color", "always"),
    "wfctl tree, drawn": ("tree", "--color", "always"),
}
# What every command of a Python program costs before it has done anything.
BASES = {"bare python": "pass", "import typer": "import typer"}


async def event(place: Place, count: int) -> Figures:
    """From `send` until the directive of the event's handler is committed, one after the other."""
    times: list[float] = []
    async with Client.connect(socket=place.socket) as client:
        for number in range(count + 1):
            handle = await client.start("Waiter", workflow_id=f"event-{number}")
            while not (await client.list(status="waiting", workflow_type="Waiter", limit=1)):
                pass
            ended = asyncio.create_task(handle.result())
            # The call for the result is on its way before the time is taken.
            await client.status()
            begun = time.perf_counter()
            await handle.send("go")
            await ended
            times.append(time.perf_counter() - begun)
    times = sorted(times[1:])
    return {"p50_ms": times[len(times) // 2] * 1_000, "p99_ms": times[int(len(times) * 0.99)] * 1_000}


def commands(place: Place, rounds: int) -> dict[str, Figures]:
    """The best of several rounds, taken in turns, as other work on the machine only ever adds; and its ratio to importing typer."""
    best = dict.fromkeys([*BASES, *COMMANDS], float("inf"))
    for _ in range(rounds):
        for name, code in BASES.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            best[name] = min(best[name], time.perf_counter() - begun)
        for name, words in COMMANDS.items():
            best[name] = min(best[name], place.cli(*words))
    return {name: {"ms": took * 1_000, "typer_ratio": took / best["import typer"]} for name, took in best.items()}


async def reloads(rounds: int) -> Figures:
    """From a saved file to the first step that runs on it."""
    times: list[float] = []
    with Place(reload=True) as place:
        async with Client.connect(socket=place.socket) as client:
            for version in range(1, rounds + 1):
                text = re.sub(r"(?m)^VERSION = .*$", f"VERSION = {version}", place.flows.read_text())
                begun = time.perf_counter()
                place.flows.write_text(text)
                while await client.run("Version") != version:
                    pass
                times.append(time.perf_counter() - begun)
                await _settled(client)
    return {"p50_ms": statistics.median(times) * 1_000, "max_ms": max(times) * 1_000}


async def _settled(client: Client) -> None:
    """Every worker is of the newest generation."""
    while True:
        status = await client.status()
        if {worker.generation for worker in status.workers} == {status.generation} and len(status.workers) == 2:
            return
