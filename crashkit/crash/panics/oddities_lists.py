"""Lists in objects on the way to a crash: links that do not answer, counts that disagree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drgn import Object, Program, Type

from crashkit.crash.panics.oddities import Met, Oddity, met_objects, structure, tag_of
from crashkit.decode import identify
from crashkit.memory import BROKEN_WALK, is_kernel_address
from crashkit.value import Certainty, Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_MOST_OBJECTS = 24
_MOST_HEADS = 32
_MOST_ENTRIES = 10_000


def odd_lists(crash: Crash) -> Iterator[Oddity]:
    """Find broken doubly linked lists and wrong queue lengths in the objects of the path."""
    told: set[int] = set()
    for met in met_objects(crash)[:_MOST_OBJECTS]:
        if (met.identity or "").startswith("free"):
            continue  # what is in a free object says nothing
        try:
            found = structure(crash.prog, met)
            heads = list(_heads(found.type_.type))[:_MOST_HEADS]
        except (LookupError, TypeError):
            continue
        for path, offset, tag in heads:
            if met.address + offset in told:
                continue
            told.add(met.address + offset)
            try:
                odd = _look(crash.prog, met, path, met.address + offset, tag)
            except BROKEN_WALK:
                continue  # a page that the dump lacks is no oddity
            if odd is not None:
                yield odd


def _heads(type_: Type) -> Iterator[tuple[str, int, str]]:
    # Direct members only: deeper ones are reached by name by whoever wants them.
    for member in type_.members or ():
        tag = tag_of(member.type)
        if member.name is not None and tag in ("list_head", "sk_buff_head"):
            yield member.name, member.offset, tag


def _look(prog: Program, met: Met, path: str, address: int, tag: str) -> Oddity | None:
    head = Object(prog, f"struct {tag} *", address)
    following, before = int(head.next), int(head.prev)
    if following in (0, address) or not is_kernel_address(following):
        return None  # never initialised, or empty; poison of a removed entry is normal there
    if not (identify(prog, following) or "").startswith("slab object"):
        return None  # a head that was spliced away still points at one on a stack
    back = int(Object(prog, f"struct {tag} *", following).prev)
    if back != address:
        name = f"{met.name.partition(' of ')[0]}->{path}"
        return Oddity(
            kind="broken-list",
            statement=f"{name} ({address:016x}): next is {following:016x}, whose prev is"
            f" {back:016x} and not this",
            values=(
                _word(f"{name}.next", following, address),
                _word(f"{name}.next->prev", back, following),
            ),
            certainty=met.certainty,
        )
    if tag == "sk_buff_head" and is_kernel_address(before):
        return _count(met, path, head)
    return None


def _count(met: Met, path: str, head: Object) -> Oddity | None:
    address, length = int(head), int(head.qlen)
    entries, at = 0, int(head.next)
    while at != address:
        entries += 1
        if entries > min(length + 1, _MOST_ENTRIES) or not is_kernel_address(at):
            break
        at = int(Object(head.prog_, "struct sk_buff *", at).next)
    if entries == length or entries > _MOST_ENTRIES:
        return None
    more = "more than " if at != address else ""
    name = f"{met.name.partition(' of ')[0]}->{path}"
    return Oddity(
        kind="count",
        statement=f"{name}.qlen is {length}, but its list has {more}{min(entries, length + 1)}"
        " entries",
        values=(_word(f"{name}.qlen", length, address),),
        certainty=met.certainty,
    )


def _word(name: str, value: int, address: int) -> Value:
    return Value(
        name=name,
        value=value,
        origin=Origin.MEMORY,
        certainty=Certainty.PROVED,
        address=address,
        reread=Reread(crash=f"rd {address:016x} 2"),
    )
