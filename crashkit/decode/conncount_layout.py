"""Where the members of connlimit's structures lie, as formats for :mod:`struct`.

All of it comes from the types of nf_conncount.ko. The list's type is taken from the tree node that
holds one: other modules may have been compiled against another header.
"""

from __future__ import annotations

import struct

from drgn import Program, Type, sizeof

from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of
from crashkit.value import facts

SLOTS = 256
"""``CONNCOUNT_SLOTS`` (net/netfilter/nf_conncount.c); the array in the type decides."""


def packed(fields: tuple[tuple[int, str], ...]) -> struct.Struct:
    """Return the format of members at these offsets; (offset, format character) in any order.

    The values come in the order of their offsets.
    """
    text, end = "<", 0
    for offset, code in sorted(fields):
        if offset < end:
            raise Unavailable("layout", Reason.CORRUPTED, f"members overlap at {offset}")
        text += f"{offset - end}x{code}"
        end = offset + struct.calcsize(f"<{code}")
    return struct.Struct(text)


@facts
class ListLayout:
    """``struct nf_conncount_list``."""

    head: int
    """Offset of the list head; the others are offsets, too."""
    head_previous: int
    count: int
    last_gc: int | None
    """None: the type has no ``last_gc``; see :attr:`Layouts.collects`."""
    last_gc_count: int | None


@facts
class Layouts:
    """What a walk over connlimit's structures needs."""

    list: ListLayout
    data_size: int
    """Bytes of ``struct nf_conncount_data``."""
    slots: int
    keylen: int
    root: int
    root_size: int
    net: int
    gc_work_function: int
    rb_right: int
    rb_left: int
    rb_node: int
    rb_list: int
    rb_key: int
    key_words: int
    entry: struct.Struct
    """next, prev, tuple, zone, cpu, jiffies32 of ``struct nf_conncount_tuple`` from its node on."""

    @property
    def collects(self) -> str:
        """How adding collects: ``always``, ``once per tick`` or ``once per tick or 64``.

        Since Linux kernel commit d265929930e2 ("netfilter: nf_conncount: reduce unnecessary
        GC") (in v5.19) a list remembers the tick of the last collection; since 21d033e47273
        ("netfilter: nf_conncount: increase the connection clean up limit to 64") (in v7.0) its
        length then as well.
        """
        if self.list.last_gc is None:
            return "always"
        return "once per tick" if self.list.last_gc_count is None else "once per tick or 64"


def layouts(prog: Program) -> Layouts:
    """Find the layouts.

    :raises Unavailable: the types of nf_conncount.ko are not known
    """
    with naming("the types of nf_conncount"):
        data = prog.type("struct nf_conncount_data")
        node = prog.type("struct nf_conncount_rb")
        entry = prog.type("struct nf_conncount_tuple")
        held = node.member("list").type
        key = node.member("key").type
        root = data.member("root").type
        return Layouts(
            list=_list_layout(held),
            data_size=sizeof(data),
            slots=root.length or SLOTS,
            keylen=offset_of(data, "keylen"),
            root=offset_of(data, "root") + _first_node(root.type),
            root_size=sizeof(root.type),
            net=offset_of(data, "net"),
            gc_work_function=offset_of(data, "gc_work.func"),
            rb_right=offset_of(node, "node.rb_right"),
            rb_left=offset_of(node, "node.rb_left"),
            rb_node=offset_of(node, "node"),
            rb_list=offset_of(node, "list"),
            rb_key=offset_of(node, "key"),
            key_words=key.length or 0,
            entry=_entry_layout(prog, entry),
        )


def _first_node(root: Type) -> int:
    # The array is of struct rb_root; on 7.3 of a structure that has one as its member root.
    nested = any(member.name == "root" for member in root.members or ())
    return offset_of(root, "root.rb_node" if nested else "rb_node")


def _list_layout(held: Type) -> ListLayout:
    names = {member.name for member in held.members or ()}

    def optional(name: str) -> int | None:
        return offset_of(held, name) if name in names else None

    return ListLayout(
        head=offset_of(held, "head.next"),
        head_previous=offset_of(held, "head.prev"),
        count=offset_of(held, "count"),
        last_gc=optional("last_gc"),
        last_gc_count=optional("last_gc_count"),
    )


def _entry_layout(prog: Program, entry: Type) -> struct.Struct:
    # packed() gives the values in the order of the members, so that order is asked of the type.
    node = offset_of(entry, "node")
    places = [offset_of(entry, name) - node for name in ("tuple", "zone", "cpu", "jiffies32")]
    if places != sorted(places) or places[0] < 0:
        raise Unavailable("struct nf_conncount_tuple", Reason.UNSUPPORTED, "another order")
    tuple_, zone, cpu, ticks = places
    return packed(
        (
            (offset_of(entry, "node.next") - node, "Q"),
            (offset_of(entry, "node.prev") - node, "Q"),
            (tuple_, f"{tuple_bytes(prog)}s"),
            (zone, f"{sizeof(entry.member('zone').type)}s"),
            (cpu, "i"),
            (ticks, "I"),
        )
    )


def tuple_bytes(prog: Program) -> int:
    """Return how many bytes at its start tell one ``struct nf_conntrack_tuple`` from another.

    All that nf_ct_tuple_equal() compares: ``src`` and ``dst`` but for ``dst.dir``, the last byte.

    :raises Unavailable: the type has another shape
    """
    with naming("struct nf_conntrack_tuple"):
        type_ = prog.type("struct nf_conntrack_tuple")
        end = offset_of(type_, "dst.dir")
        shape = [offset_of(type_, path) for path in ("src", "dst", "dst.protonum", "dst.dir")]
    if shape != sorted(shape) or shape[0] != 0 or end != shape[2] + 1:
        raise Unavailable("struct nf_conntrack_tuple", Reason.UNSUPPORTED, "another order")
    return end
