"""A list entry was used or removed once more after it had been removed.

Removing an entry leaves LIST_POISON1 and LIST_POISON2 in its links (include/linux/list.h:
list_del(), hlist_del(); the RCU variants leave one of them). Whoever follows them faults;
list_del() itself looks for them with CONFIG_DEBUG_LIST or CONFIG_LIST_HARDENED.

Recognised by: the link that was followed, or that the check found wrong, holds such a value
in memory. A list whose links are damaged otherwise is refuted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.bad_pointer import (
    found_bad_pointer,
    held_now,
    place_of,
    register_value,
    word_value,
)
from crashkit.errors import Reason, Unavailable
from crashkit.fault.diagnosis import LIST_POISON
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.memory import read_u64
from crashkit.recipe import Meta
from crashkit.value import Value

if TYPE_CHECKING:
    from crashkit.crash.panics.linked import ListCorruption

META = Meta(
    id="list-entry-removed",
    claim="a link of the list entry is LIST_POISON: the entry had been removed from its list",
    references=("include/linux/poison.h; include/linux/list.h; lib/list_debug.c",),
    matches=("kind-listpoison", "kind-hlistpoison", "kind-listdel"),
    rejects=("kind-listadd",),
    classes=("read through", "written through", "removed again", "neighbour removed"),
    told_apart_from=(
        "a list with damaged links: none of them is a poison value",
        "an entry that was freed as well: its memory may hold anything",
    ),
    advice=(
        "look for the two that remove it, or for a walk that removes entries without"
        " list_for_each_entry_safe(), and for the lock that should keep them apart"
    ),
)

_CHECKS = ("__list_add_valid", "__list_del_entry_valid")
_WORD = 8


def applies(crash: Crash) -> bool:
    """Whether a list's poison was followed, or a list's check failed."""
    if crash.fault is not None and crash.fault.diagnosis.kind == "list-poison":
        return True
    return (crash.faulting_function or "").startswith(_CHECKS)


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    if scene.checked:
        yield necessary("poison", "a link that was checked is poison", lambda: _in_check(scene))
        return
    yield necessary("poison", "the pointer followed is LIST_POISON", lambda: _is_poison(scene))
    yield necessary("link", "it is in the entry's link still", lambda: _is_link(scene))
    yield supporting("other", "the entry's other link is poison as well", lambda: _other(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash
        self.checked = (crash.faulting_function or "").startswith(_CHECKS)

    @cached_property
    def corruption(self) -> ListCorruption:
        from crashkit.crash.panics.linked import read

        found = read(self.crash)
        if found is None:
            raise Unavailable("the list", Reason.NOT_SAVED)
        return found


def _in_check(scene: _Scene) -> Observation:
    # What the check compares: an entry's own links to remove it, its neighbours' to add one.

    found = scene.corruption
    wanted = {"entry": "both"} if found.operation == "delete" else {"prev": "next", "next": "prev"}
    links: list[Value] = []
    for node in found.nodes:
        for at, (name, held) in enumerate((("next", node.next), ("prev", node.prev))):
            if wanted.get(node.role) not in ("both", name):
                continue
            if held is None:
                raise Unavailable(f"{node.role}->{name}", Reason.NOT_IN_DUMP)
            place = node.address + at * _WORD
            links.append(word_value(f"{node.role}->{name}", place, held, node.identity))
    if len(links) < 2:
        raise Unavailable("the links", Reason.NOT_SAVED, "not all nodes are known")
    poison = [link for link in links if link.value in LIST_POISON]
    names = (f"{link.name} is {LIST_POISON[int(link.value)]}" for link in poison)
    return seen(bool(poison), *links, note=", ".join(names))


def _is_poison(scene: _Scene) -> Observation:
    fault = scene.crash.fault
    register = fault.bad_register if fault is not None else None
    if fault is None or register is None or register not in fault.registers:
        raise Unavailable("the pointer", Reason.NOT_SAVED)
    value = fault.registers[register]
    name = LIST_POISON.get(value)
    if name is None:
        # A member of what a poisoned link points to: where the link is, is not known.
        raise Unavailable("the link", Reason.NOT_SAVED, f"{value:#x} is near LIST_POISON")
    return seen(True, register_value(fault.null_or_bad or register, register, value), note=name)


def _is_link(scene: _Scene) -> Observation:

    return seen(True, held_now(scene.crash, found_bad_pointer(scene.crash)))


def _other(scene: _Scene) -> Observation:
    # list_head has next before prev, hlist_node next before pprev; poisoned 1 and 2.

    bad = found_bad_pointer(scene.crash)
    first = LIST_POISON.get(bad.value) == "LIST_POISON1"
    place = place_of(bad) + (_WORD if first else -_WORD)
    held = read_u64(scene.crash.prog, place, "the other link")
    return seen(held in LIST_POISON, word_value("the other link", place, held))


def classes(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say what was done with the removed entry."""
    if not found or found[0].holds is not True:
        return ()
    scene = _Scene(crash)
    if crash.fault is not None and not scene.checked:
        return ("written through" if crash.fault.access == "write" else "read through",)
    return ("removed again",) if scene.corruption.operation == "delete" else ("neighbour removed",)
