"""Objects on the way to a crash: two where one is expected, and free ones in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from crashkit.crash.panics.oddities import Met, Oddity, met_objects, pointed_tag, structure
from crashkit.fault.reading import CASTS
from crashkit.memory import BROKEN_WALK, is_kernel_address
from crashkit.value import Certainty, Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_MOST_MEMBERS = 256
_FLAG_BITS = 7
_FREE = "free slab object"
# Structures of which a path has many by design: a list's neighbours, another task, a parent.
_MANY = frozenset(
    {
        "list_head", "hlist_node", "hlist_head", "rb_node", "task_struct", "page", "folio",
        "net", "module", "device", "kobject", "super_block", "cred", "mm_struct",
        "wait_queue_head", "work_struct", "rcu_head", "callback_head", "file_system_type",
    }
)  # fmt: skip


def second_objects(crash: Crash) -> Iterator[Oddity]:
    """Find objects on the path that lead to another object than the one in hand.

    The one in hand is on the way to the faulting operand; the other objects are arguments
    of the frames. ``skb->_nfct`` of the packet that is being sent, say, should be the
    conntrack that the faulting function works on.
    """
    known = met_objects(crash)
    told: set[tuple[int, int]] = set()
    for hand in known:
        if not hand.in_chain or hand.tag in _MANY:
            continue
        for holder in known:
            if holder.in_chain or holder.tag == hand.tag:
                continue
            for path, value in _pointers_to(crash, holder, hand.tag):
                if value == hand.address or (holder.address, value) in told:
                    continue
                told.add((holder.address, value))
                yield _second(hand, holder, path, value)


def _second(hand: Met, holder: Met, path: str, value: int) -> Oddity:
    name, _, where = holder.name.partition(" of ")
    certainty = Certainty.PROVED
    if Certainty.INFERRED in (hand.certainty, holder.certainty):
        certainty = Certainty.INFERRED
    return Oddity(
        kind="second-object",
        statement=f"two struct {hand.tag} on one path: {hand.name} is {hand.address:016x}, but "
        f"{name}->{path} ({where}, {holder.address:016x}) is {value:016x}",
        values=(
            _pointer(hand.name, hand.address, hand.tag, hand.certainty),
            Value(
                name=f"{name}->{path}",
                value=value,
                origin=Origin.MEMORY,
                certainty=holder.certainty,
                ctype=f"struct {hand.tag} *",
                address=holder.address,
                reread=Reread(crash=f"struct {holder.tag}.{path} {holder.address:016x}"),
            ),
        ),
        certainty=certainty,
    )


def _pointers_to(crash: Crash, holder: Met, tag: str) -> Iterator[tuple[str, int]]:
    # Members of the holder that point at a structure of the wanted kind.
    try:
        found = structure(crash.prog, holder)
        members = found.type_.type.members or ()
    except (LookupError, AttributeError, TypeError):
        return  # a type that is only declared
    for member in list(members)[:_MOST_MEMBERS]:
        name = member.name
        if name is None:
            continue
        wanted = CASTS.get((holder.tag, name))
        points_at = pointed_tag(member.type) if wanted is None else wanted.removeprefix("struct ")
        if points_at != tag:
            continue
        try:
            value = int(found.member_(name).value_())
        except BROKEN_WALK:
            continue
        if wanted is not None:
            value &= ~_FLAG_BITS
        if is_kernel_address(value):
            yield name, value


def free_objects(crash: Crash) -> Iterator[Oddity]:
    """Find arguments and links of the chain that point into free slab objects."""
    told: set[int] = set()
    for met in met_objects(crash):
        if met.address in told or not (met.identity or "").startswith(_FREE):
            continue
        told.add(met.address)
        yield Oddity(
            kind="free-object",
            statement=f"{met.name} ({met.address:016x}) points at a {met.identity}",
            values=(_pointer(met.name, met.address, met.tag, met.certainty),),
            certainty=met.certainty,
        )


def _pointer(name: str, address: int, tag: str, certainty: Certainty) -> Value:
    return Value(
        name=name,
        value=address,
        origin=Origin.DATAFLOW,
        certainty=certainty,
        ctype=f"struct {tag} *",
        reread=Reread(crash=f"kmem {address:016x}"),
    )
