"""Which member lies at a byte offset of a type, and at which offset a member lies.

Source of every offset is the type information of the dump's own kernel; nothing here
knows a layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import drgn
from drgn import Type, TypeKind

from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

COMPOUND = (TypeKind.STRUCT, TypeKind.UNION, TypeKind.CLASS)
_DEEPEST = 32
_MOST_READINGS = 16


@facts
class MemberPath:
    """A member, as a designator relative to the type that was asked about."""

    text: str
    """``ct.nf_conntrack_event_cb``, ``tuplehash[1].tuple``; empty for the whole type."""
    type: Type
    """The member's type, with its typedef; a one-member wrapper gives what it wraps."""
    offset: int
    """Bytes left over into the member; 0 when it starts where it was asked for."""
    complete: bool
    """The member starts at the offset and, if a size was given, has that size."""
    alternatives: tuple[str, ...] = ()
    """Other designators that fit as well (members of a union, bit fields)."""
    bit_field: bool = False
    """The member is a bit field, and the access reads more than it."""

    @property
    def ambiguous(self) -> bool:
        """Whether another designator fits as well as this one."""
        return bool(self.alternatives)


def strip(type_: Type) -> Type:
    """Remove typedefs and qualifiers from the outside of a type."""
    while type_.kind is TypeKind.TYPEDEF:
        type_ = type_.type
    return type_.unqualified()


def pointee(type_: Type) -> Type | None:
    """Type that a pointer (through typedefs) or array points at; None for other types."""
    bare = strip(type_)
    if bare.kind in (TypeKind.POINTER, TypeKind.ARRAY):
        return bare.type
    return None


def size_of(type_: Type) -> int | None:
    """Size in bytes; None for void, functions, incomplete types and flexible arrays."""
    try:
        return int(drgn.sizeof(type_))
    except TypeError:
        return None


def offset_of(type_: Type, designator: str) -> int:
    """Byte offset of a member, which may be dotted and indexed: ``a.b[1].c``.

    :raises Unavailable: the type has no such member, or is incomplete
    """
    what = f"offset of {designator} in {type_.type_name()}"
    try:
        return int(drgn.offsetof(strip(type_), designator))
    except (LookupError, TypeError) as unknown:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
    except (ValueError, SyntaxError, OverflowError) as wrong:
        raise Unavailable(what, Reason.NOT_APPLICABLE, str(wrong)) from wrong


def member_at(type_: Type, offset: int, size: int | None = None) -> MemberPath:
    """Find the member at a byte offset.

    With ``size`` (bytes of an access) the innermost member is meant, and among members
    of a union the one of that size. Without, as for an address, the outermost member
    that starts there. Anonymous members are transparent. A wrapper at the end of a
    path, a struct known by a typedef with one member of its own size, is left out:
    ``possible_net_t ct_net`` is ``ct_net`` of type ``struct net *``.

    :raises Unavailable: no member lies there, or the type is incomplete
    """
    return members_at(type_, offset, size)[0]


def members_at(type_: Type, offset: int, size: int | None = None) -> tuple[MemberPath, ...]:
    """Find every member that fits at a byte offset, the most plausible first.

    Each one's ``alternatives`` name the others that fit equally well; a member that
    fits less well (another size, not its start) is listed only if none fits.

    :raises Unavailable: no member lies there, or the type is incomplete
    """
    bare = strip(type_)
    what = f"member at offset {offset:#x} of {type_.type_name()}"
    if bare.kind in COMPOUND and not bare.is_complete():
        raise Unavailable(what, Reason.NO_DEBUGINFO, "the type is declared and not described")
    if bare.kind not in (*COMPOUND, TypeKind.ARRAY):
        raise Unavailable(what, Reason.NOT_APPLICABLE, "the type has no members")
    found: list[MemberPath] = []
    for path in _search(bare, offset, size, _DEEPEST):
        found.append(path)
        if len(found) >= _MOST_READINGS:
            break
    if not found:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "no member lies there")
    return _ranked(found)


def _ranked(found: list[MemberPath]) -> tuple[MemberPath, ...]:
    best = [path for path in found if path.complete] or found
    unique = list({path.text: path for path in best}.values())
    return tuple(
        replace(path, alternatives=tuple(other.text for other in unique if other is not path))
        for path in unique
    )


def _search(type_: Type, offset: int, size: int | None, depth: int) -> Iterator[MemberPath]:
    # Candidates for an offset into a struct, union or array, in declaration order.
    bare = strip(type_)
    if depth == 0:
        return
    if bare.kind is TypeKind.ARRAY:
        yield from _element(bare, offset, size, depth)
    elif bare.kind in COMPOUND and bare.is_complete():
        for member in bare.members:
            if member.bit_field_size is not None:
                yield from _bit_field(member, offset, size)
            elif _covers(bare, member, offset):
                yield from _inside(member, offset - member.offset, size, depth)


def _covers(container: Type, member: drgn.TypeMember, offset: int) -> bool:
    if offset < member.offset:
        return False
    length = size_of(member.type)
    if length:
        return bool(offset < member.offset + length)
    bare = strip(member.type)
    if bare.kind is TypeKind.ARRAY and bare.length is None:
        return True  # a flexible array goes on past its struct
    # So do its older spelling with [0] and a struct that holds nothing else, at the end.
    return bare.kind in (*COMPOUND, TypeKind.ARRAY) and bool(member.offset == container.size)


def _bit_field(member: drgn.TypeMember, offset: int, size: int | None) -> Iterator[MemberPath]:
    first = member.bit_offset // 8
    last = (member.bit_offset + (member.bit_field_size or 1) - 1) // 8
    if first <= offset + (size or 1) - 1 and offset <= last and member.name:
        yield MemberPath(
            text=member.name, type=member.type, offset=0, complete=True, bit_field=True
        )


def _inside(
    member: drgn.TypeMember, rest: int, size: int | None, depth: int
) -> Iterator[MemberPath]:
    if member.name is None:
        yield from _search(member.type, rest, size, depth - 1)
        return
    for path in _below(member.type, rest, size, depth - 1):
        joint = "" if not path.text or path.text.startswith("[") else "."
        yield replace(path, text=f"{member.name}{joint}{path.text}")


def _below(type_: Type, rest: int, size: int | None, depth: int) -> Iterator[MemberPath]:
    # The named member itself, or what it contains.
    bare = strip(type_)
    whole = rest == 0 and (size is None or size_of(bare) == size)
    is_compound = bare.kind in (*COMPOUND, TypeKind.ARRAY)
    if not is_compound or (whole and size is None):
        length = size_of(bare)
        fits = rest == 0 and (size is None or length == size)
        yield MemberPath(text="", type=type_, offset=rest, complete=fits)
        return
    wrapped = _wrapped(type_) if rest == 0 else None
    if wrapped is not None:
        yield from _below(wrapped, rest, size, depth - 1)
        return
    if bare.kind is TypeKind.ARRAY and size is not None and (size_of(bare.type) or 0) < size:
        yield MemberPath(text="", type=type_, offset=rest, complete=whole)
        return
    yield from _search(bare, rest, size, depth)


def _wrapped(type_: Type) -> Type | None:
    # The type inside a wrapper: possible_net_t, atomic_t, refcount_t.
    if type_.kind is not TypeKind.TYPEDEF:
        return None
    bare = strip(type_)
    if bare.kind is not TypeKind.STRUCT or not bare.is_complete() or len(bare.members) != 1:
        return None
    only = bare.members[0]
    if only.name is None or only.offset or only.bit_field_size is not None:
        return None
    return only.type if size_of(only.type) == bare.size else None


def _element(array: Type, offset: int, size: int | None, depth: int) -> Iterator[MemberPath]:
    length = size_of(array.type)
    if not length:
        return
    index, rest = divmod(offset, length)
    if array.length and index >= array.length:
        return
    for path in _below(array.type, rest, size, depth - 1):
        joint = "" if not path.text or path.text.startswith("[") else "."
        yield replace(path, text=f"[{index}]{joint}{path.text}")
