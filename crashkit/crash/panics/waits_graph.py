"""The wait-for graph: its cycles, and where its chains end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crashkit.value import Certainty, facts


@facts
class Edge:
    """One task waits for another."""

    waiter: int
    """Address of its ``struct task_struct``."""
    owner: int
    """Of the task it waits for."""
    kind: str
    address: int | None
    """The lock."""
    certainty: Certainty


@facts
class Cause:
    """A task that others wait for and that itself waits for none of them."""

    task: int
    """Address of its ``struct task_struct``."""
    direct: int
    """Tasks that wait for it."""
    waiters: int
    """Those, and all that wait for them."""
    in_cycle: bool
    """It is the first of a cycle: every task of that is as much a cause."""
    known: bool
    """It is a task of the dump; else the address in a lock is no task there is."""
    certainty: Certainty
    """Inferred where one link of the chains is."""


def cycles_of(edges: Mapping[int, Edge]) -> tuple[tuple[int, ...], ...]:
    """Find the cycles of a graph in which each task waits for at most one.

    :param edges: by waiter
    :returns: each cycle once, from its lowest address on
    """
    done: set[int] = set()
    cycles: list[tuple[int, ...]] = []
    for start in edges:
        path: dict[int, int] = {}
        here = start
        while here in edges and here not in path and here not in done:
            path[here] = len(path)
            here = edges[here].owner
        if here in path:
            members = [task for task, at in path.items() if at >= path[here]]
            first = members.index(min(members))
            cycles.append((*members[first:], *members[:first]))
        done |= set(path)
    return tuple(sorted(cycles))


def causes_of(edges: Mapping[int, Edge], known: Iterable[int]) -> tuple[Cause, ...]:
    """Find where the chains of waiting end; those with most waiters first.

    :param edges: by waiter
    :param known: tasks there are
    """
    there = set(known)
    cycle_of = {task: members for members in cycles_of(edges) for task in members}
    chains: dict[int, list[tuple[int, Certainty]]] = {}
    for waiter in edges:
        end, certainty = _end(waiter, edges, cycle_of)
        if end != waiter or waiter in cycle_of:
            chains.setdefault(end, []).append((waiter, certainty))
    causes = [
        Cause(
            task=end,
            direct=sum(edge.owner == end for edge in edges.values()),
            waiters=sum(waiter != end for waiter, _sure in waiters),
            in_cycle=end in cycle_of,
            known=end in there,
            certainty=_weakest(sure for _waiter, sure in waiters),
        )
        for end, waiters in chains.items()
    ]
    return tuple(sorted(causes, key=lambda cause: (-cause.waiters, cause.task)))


def _end(
    waiter: int, edges: Mapping[int, Edge], cycle_of: Mapping[int, tuple[int, ...]]
) -> tuple[int, Certainty]:
    here = waiter
    passed: list[Certainty] = []
    while here in edges and here not in cycle_of and len(passed) <= len(edges):
        passed.append(edges[here].certainty)
        here = edges[here].owner
    if here in cycle_of:
        passed += [edges[member].certainty for member in cycle_of[here]]
        here = cycle_of[here][0]
    return here, _weakest(passed)


def _weakest(certainties: Iterable[Certainty]) -> Certainty:
    return Certainty.INFERRED if Certainty.INFERRED in set(certainties) else Certainty.PROVED
