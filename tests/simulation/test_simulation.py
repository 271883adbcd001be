"""Thousands of small worlds, each decided by its seed: whatever crashes, stalls or comes twice, every promise is kept."""

from __future__ import annotations

from typing import Any

import pytest

from support.sim.world import World
from wfd.core.records import KINDS
from wfd.engine import commits
from wfd.engine.engine import Engine

SEEDS = 2_000
CHUNK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_is_kept_in_every_world(first: int) -> None:
    for seed in range(first, first + CHUNK):
        problems = World(seed).run()
        assert not problems, f"seed {seed}: {problems[0]}\nto see it happen: make simulate SEED={seed}"


@pytest.mark.parametrize("much", [1, 2])
def test_every_promise_is_kept_where_much_is_said_at_once_and_written_in_parts(
    much: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "MUCH", much)
    made, parts = Engine.__init__, list[int]()

    def noted(self: Engine, *given: Any, **options: Any) -> None:
        made(self, *given, **options)
        hand_over = self.hand_over

        def part() -> None:
            parts.append(len(self.turn))
            hand_over()

        self.hand_over = part  # type: ignore[method-assign, assignment]

    monkeypatch.setattr(Engine, "__init__", noted)
    for seed in range(SEEDS // 10):
        problems = World(seed, frames=True).run()
        assert not problems, f"seed {seed}: {problems[0]}"
    assert len(parts) > 20
    assert min(parts) >= much


def test_a_seed_tells_the_same_story_every_time() -> None:
    stories: list[list[str]] = []
    for _ in range(2):
        trace: list[str] = []
        World(7, trace=trace).run()
        stories.append(trace)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 20


def test_the_worlds_are_full_of_events_and_of_every_kind_of_misfortune() -> None:
    kinds: set[str] = set()
    fortune: set[str] = set()
    wanted = {
        "crash_before", "crash_after", "fails", "fails_but_kept", "unreadable", "crash", "stop", "lose_worker", "set_clock",
        "fill_disk", "reload", "come_to_rest",
    }  # fmt: skip
    for seed in range(SEEDS // 4):
        world = World(seed)
        world.run()
        fortune.update(world.fortune)
        kinds.update(row.kind for history in world.disk.history.values() for row in history)
        if kinds == set(KINDS) and wanted <= fortune:
            return
    raise AssertionError(f"never seen: {set(KINDS) - kinds}, {wanted - fortune}")
