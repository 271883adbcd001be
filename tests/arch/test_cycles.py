"""No module imports itself by any way round: local imports and those for type checkers count."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from support.source import imports, module_of, modules

# The public face names everything for type checkers, and is asked for the version by everybody.
FACES = {"wfctl", "wfd"}


def _graph() -> dict[str, set[str]]:
    graph = {}
    for name, module in modules().items():
        targets = {module_of(found.target) for found in imports(module)}
        graph[name] = {target for target in targets if target is not None and target not in FACES}
    return graph


def shortest_cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """The shortest way from a module back to itself, that module at both ends; empty where there is none."""
    best: list[str] = []
    for start in sorted(graph):
        came: dict[str, str] = {}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for there in sorted(graph.get(here, ())):
                if there not in came:
                    came[there] = here
                    queue.append(there)
        if start not in came:
            continue
        way = [start]
        while len(way) == 1 or way[-1] != start:
            way.append(came[way[-1]])
        if not best or len(way) < len(best):
            best = way[::-1]
    return best


def test_modules_import_each_other_without_going_in_circles() -> None:
    cycle = shortest_cycle(_graph())
    assert not cycle, (
        f"a cycle of imports: {' -> '.join(cycle)}; move what both sides need into a module of its own, below them"
    )


def test_a_cycle_is_found_and_its_shortest_form_told() -> None:
    graph = {"a": {"b", "d"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"a"}}
    assert shortest_cycle(graph) in (["a", "d", "a"], ["d", "a", "d"])


def test_a_module_that_imports_itself_is_a_cycle() -> None:
    assert shortest_cycle({"a": {"a"}}) == ["a", "a"]


def test_no_cycle_is_found_where_there_is_none() -> None:
    assert shortest_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
