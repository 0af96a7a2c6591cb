"""List heads and nodes: structures of nothing but links."""

from __future__ import annotations

from drgn import Type, TypeKind

from crashkit.layout import COMPOUND, MemberPath, pointee, strip

_WORD = 8


def is_part_of_pointer(path: MemberPath, size: int | None) -> bool:
    """Whether an access is to a part of a pointer that no code reads alone.

    Another structure lies there then. Flags are in a pointer's low byte.
    """
    if strip(path.type).kind is not TypeKind.POINTER or size is None or size >= _WORD:
        return False
    return bool(path.offset) or size > 1


def is_head(structure: Type, path: MemberPath) -> bool:
    """Whether a member is one of an embedded list head or node: ``queue.next``."""
    outer, dot, _ = path.text.rpartition(".")
    target = pointee(path.type)
    if not dot or "[" in outer or target is None or strip(target).kind not in COMPOUND:
        return False
    holder = structure
    for name in outer.split("."):
        try:
            holder = strip(holder.member(name).type)
        except (LookupError, TypeError):
            return False  # a member of an unnamed structure is none of its own
    node = strip(target)
    return holder.kind in COMPOUND and all(_links_to(m.type, node) for m in holder.members)


def is_node(bare: Type) -> bool:
    """Whether it is a structure of nothing but links to its own kind: ``struct list_head``."""
    if bare.kind not in COMPOUND or not bare.is_complete() or not bare.members:
        return False
    return all(_links_to(member.type, bare) for member in bare.members)


def _links_to(type_: Type, node: Type) -> bool:
    target = pointee(type_)
    while target is not None and strip(target).kind is TypeKind.POINTER:
        target = pointee(target)  # hlist_node.pprev
    return target is not None and getattr(strip(target), "tag", None) == node.tag


def begins_with(whole: Type, first: Type) -> bool:
    """Whether one pointer leads to a structure that begins with the node another leads to."""
    outer, inner = pointee(whole), pointee(first)
    if outer is None or inner is None or not is_node(strip(inner)):
        return False
    bare, wanted = strip(outer), strip(inner)
    while bare.kind in COMPOUND and bare.is_complete() and _starts(bare):
        bare = strip(bare.members[0].type)
        if bare.kind is wanted.kind and bare.kind in COMPOUND and bare.tag == wanted.tag:
            return wanted.tag is not None
    return False


def _starts(bare: Type) -> bool:
    return bool(bare.members) and bare.members[0].offset == 0
