"""What lies behind a pointer: members and elements as C expressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drgn import Program, Type, TypeKind

from crashkit.dataflow import Term
from crashkit.errors import Reason, Unavailable
from crashkit.fault.nodes import is_head, is_part_of_pointer
from crashkit.layout import COMPOUND, MemberPath, members_at, pointee, size_of, strip
from crashkit.value import facts

_DEEPEST = 12
_WORD = 8
_WORDS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long"}
_LARGEST_DECIMAL = 256


@facts
class Reading:
    """One way to read a term as a C expression."""

    term: Term
    text: str
    type: Type
    place: str | None = None
    """The value is the address of this object: ``place.member``, not ``text->member``."""
    parent: Reading | None = None
    """Reading of the pointer it was read through or the value it was made from."""
    member: tuple[str, str] | None = None
    """Tag of the structure and path of the member it was read from."""
    unsure: bool = False
    """Its type, or one on the way to it, is an inference."""
    lent: bool = False
    """The function has no name for it: the text is its caller's, or a register's."""
    bare: bool = False
    """A word of memory that nothing describes: it may be a pointer."""
    head_in: str | None = None
    """The structure that embeds the list head or node it was read from: what it leads to
    need not be one of those."""


def is_same(one: Type, other: Type) -> bool:
    """Whether two types are the same; modules have structures of one name and several forms."""
    return one.type_name() == other.type_name() and _form(one) == _form(other)


def _form(type_: Type) -> tuple[object, ...]:
    bare = strip(pointee(type_) or type_)
    if bare.kind not in COMPOUND or not bare.is_complete():
        return ()
    return (bare.size, *((member.name, member.bit_offset) for member in bare.members))


def is_followed(type_: Type) -> bool:
    """Whether it is a pointer to something whose contents are described."""
    target = pointee(type_)
    if target is None:
        return False
    bare = strip(target)
    if bare.kind in COMPOUND:
        return bool(bare.is_complete())
    return bare.kind not in (TypeKind.VOID, TypeKind.FUNCTION)


def dereference(pointer: Reading, offset: int, size: int, term: Term) -> tuple[Reading, ...]:
    """Read ``size`` bytes through a pointer, ``offset`` from where it points.

    :raises Unavailable: it is no pointer, its target is not described, or nothing of
        that kind lies there
    """
    target = pointee(pointer.type)
    if target is None:
        raise Unavailable(
            pointer.text, Reason.NOT_APPLICABLE, f"{pointer.type.type_name()} is no pointer"
        )
    bare = strip(target)
    if bare.kind in COMPOUND:
        return _members(pointer, pointer, bare, offset, size, term)
    return (_scalar(pointer, target, offset, size, term),)


def _members(
    pointer: Reading, base: Reading, bare: Type, offset: int, size: int | None, term: Term
) -> tuple[Reading, ...]:
    tag = getattr(bare, "tag", None) or ""
    found = tuple(
        Reading(
            term=term,
            text=member_text(base, path.text),
            type=path.type,
            parent=pointer,
            member=(tag, path.text),
            unsure=pointer.unsure,
            head_in=bare.type_name() if is_head(bare, path) else None,
        )
        for path in members_at(bare, offset, size)
        if not is_part_of_pointer(path, size)
    )
    if not found:
        detail = f"{size} bytes at {offset:#x} are no member, but a part of a pointer"
        raise Unavailable(pointer.text, Reason.NOT_APPLICABLE, detail)
    return found


def as_element(pointer: Reading, offset: int, size: int, term: Term) -> tuple[Reading, ...]:
    """Read behind the one object a pointer points at: it may be the first of many.

    :raises Unavailable: it is no pointer to a structure, or nothing lies there
    """
    target = pointee(pointer.type)
    length = size_of(target) if target is not None else None
    if target is None or not length or strip(target).kind not in COMPOUND or offset < length:
        raise Unavailable(pointer.text, Reason.NOT_APPLICABLE, "it is within the object")
    if _is_linked(strip(target), _DEEPEST):
        raise Unavailable(pointer.text, Reason.AMBIGUOUS, "a link may be in any structure")
    found = indexed(pointer, str(offset // length), length, offset % length, size, term)
    fits = tuple(replace(r, unsure=True) for r in found if size_of(r.type) == size)
    if not fits:
        raise Unavailable(pointer.text, Reason.NOT_APPLICABLE, "nothing of that size lies there")
    return fits


def _is_linked(type_: Type, depth: int) -> bool:
    # It, or what it embeds, points to its own kind: an entry of a list or tree, no element.
    if depth == 0 or not type_.is_complete():
        return True
    for member in type_.members:
        bare = strip(member.type)
        if _points_at(bare, type_):
            return True
        if bare.kind in COMPOUND and _is_linked(bare, depth - 1):
            return True
    return False


def _points_at(bare: Type, structure: Type) -> bool:
    target = strip(bare.type) if bare.kind is TypeKind.POINTER else None
    return target is not None and target.kind in COMPOUND and target.tag == structure.tag


def word_of(prog: Program, size: int) -> Type:
    """An unsigned integer type of a size.

    :raises Unavailable: there is none
    """
    try:
        return prog.type(_WORDS[size])
    except LookupError as unknown:
        raise Unavailable(f"{size} bytes", Reason.NO_DEBUGINFO, "no such type") from unknown


def is_anything(pointer: Reading) -> bool:
    """Whether it is a pointer to anything, of which only distances can be told."""
    target = pointee(pointer.type)
    return target is not None and strip(target).kind is TypeKind.VOID


def as_number(pointer: Reading, offset: int, size: int, term: Term, word: Type) -> Reading:
    """Read a number through a pointer to bytes or to anything, or beside what it points at.

    :param word: an unsigned integer type of the size
    :raises Unavailable: it is no such pointer
    """
    target = pointee(pointer.type)
    bare = strip(target) if target is not None else None
    is_bytes = bare is not None and (bare.kind is TypeKind.VOID or size_of(bare) == 1)
    beside = bare is not None and not is_bytes and (pointer.lent or _is_outside(bare, offset))
    if not (is_bytes or beside or pointer.bare) or (pointer.place is not None and not beside):
        raise Unavailable(pointer.text, Reason.NOT_APPLICABLE, "it is no pointer to bytes")
    place = pointer.text if pointer.bare else operand(pointer.text)
    if beside:
        place = f"(void *){place}"
    if offset:
        place = f"({place} {'+' if offset > 0 else '-'} {abs(offset):#x})"
    return Reading(
        term=term,
        text=f"*(u{8 * size} *){place}",
        type=word,
        parent=pointer,
        unsure=True,
        bare=size == _WORD,
    )


def _is_outside(structure: Type, offset: int) -> bool:
    # What embeds it, or lies behind it, is of a type that nobody has described.
    length = size_of(structure) if structure.kind in COMPOUND else None
    return bool(length) and not 0 <= offset < (length or 0)


def _scalar(pointer: Reading, target: Type, offset: int, size: int, term: Term) -> Reading:
    length = size_of(target)
    bare = strip(target)
    if length is None or bare.kind is TypeKind.FUNCTION:
        raise Unavailable(
            pointer.text, Reason.NOT_APPLICABLE, f"nothing describes what {pointer.text} points at"
        )
    if bare.kind is TypeKind.ARRAY and pointer.place is not None:
        path = members_at(bare, offset, size)[0]
        return Reading(
            term=term, text=f"{pointer.place}{path.text}", type=path.type, parent=pointer,
            unsure=pointer.unsure,
        )  # fmt: skip
    if length != size or offset % length or offset < 0:
        raise Unavailable(
            pointer.text,
            Reason.AMBIGUOUS,
            f"{size} bytes at {offset:#x} are no {target.type_name()}",
        )
    if offset:
        text = f"{operand(pointer.text)}[{offset // length}]"
    else:
        text = pointer.place or f"*{operand(pointer.text)}"
    return Reading(term=term, text=text, type=target, parent=pointer, unsure=pointer.unsure)


def member_text(pointer: Reading, path: str) -> str:
    """Write a member of what a pointer points at."""
    if not path:
        return pointer.place or f"*{operand(pointer.text)}"
    if pointer.place is not None:
        return f"{pointer.place}.{path}"
    return f"{operand(pointer.text)}->{path}"


def short(number: int) -> str:
    """Write a distance or small number: decimal below 256."""
    return str(number) if number < _LARGEST_DECIMAL else f"{number:#x}"


def operand(text: str) -> str:
    """Write an expression as an operand of another, in parentheses where it needs them."""
    return text if _is_postfix(text) else f"({text})"


def _is_postfix(text: str) -> bool:
    # Names, members, elements and calls: operators only within brackets.
    depth, before = 0, ""
    for position, letter in enumerate(text):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif depth == 0 and not (letter.isalnum() or letter in "_.%"):
            arrow = letter == "-" and text[position + 1 : position + 2] == ">"
            if not arrow and not (letter == ">" and before == "-"):
                return False
        elif depth == 0 and before == ")" and (letter.isalnum() or letter in "_%"):
            return False  # a cast
        before = letter
    return depth == 0


def made_of(reading: Reading, term: Term, text: str, type_: Type) -> Reading:
    """Read what was computed from a value: as unsure as that was."""
    return Reading(term=term, text=text, type=type_, parent=reading, unsure=reading.unsure)


def narrowed(reading: Reading, size: int, signed: bool, term: Term) -> Reading:
    """Read the low bytes of a value."""
    length = size_of(reading.type)
    text = reading.text
    if length is None or length > size:
        text = f"({'s' if signed else 'u'}{8 * size}){operand(text)}"
    return replace(made_of(reading, term, text, reading.type), parent=reading.parent)


def indexed(
    base: Reading, number: str, scale: int, offset: int, size: int | None, term: Term
) -> tuple[Reading, ...]:
    """Read ``size`` bytes at ``base + number * scale + offset``.

    :param base: a pointer to elements, to an array, or to a structure that has one
    :param number: the index, as written
    :param size: None for the address of what is there
    :raises Unavailable: no array there has elements of that size
    """
    target = pointee(base.type)
    bare = strip(target) if target is not None else None
    if bare is None:
        raise Unavailable(base.text, Reason.NOT_APPLICABLE, "it is no pointer")
    if bare.kind is TypeKind.ARRAY:
        place = base.place or f"(*{operand(base.text)})"
        found = list(_in_array(bare, place, number, scale, offset))
    elif size_of(bare) and scale % (size_of(bare) or 1) == 0:
        found = list(_in_elements(bare, operand(base.text), number, scale, offset))
    else:
        found = []
    if not found and bare.kind in COMPOUND and bare.is_complete():
        found = list(_array_members(bare, base, number, scale, offset, _DEEPEST))
    readings = [
        r for place, type_, rest in found for r in _at(base, place, type_, rest, size, term)
    ]
    if not readings:
        raise Unavailable(base.text, Reason.NOT_APPLICABLE, f"no elements of {scale} bytes")
    return tuple(readings)


_Found = Iterator[tuple[str, Type, int]]
# An element as written, its type, and what is left of the offset.


def _in_elements(type_: Type, place: str, number: str, scale: int, offset: int) -> _Found:
    length = size_of(type_) or 1
    moved, rest = divmod(offset, length)
    times = scale // length
    index = number if times == 1 else f"{operand(number)} * {times}"
    yield f"{place}[{_plus(index, moved)}]", type_, rest


def _in_array(array: Type, place: str, number: str, scale: int, offset: int) -> _Found:
    inner = strip(array.type)
    length = size_of(inner)
    if not length:
        return
    if length == scale:
        yield from _in_elements(array.type, place, number, scale, offset)
    elif inner.kind is TypeKind.ARRAY and length > scale:
        row, rest = divmod(offset, length)
        yield from _in_array(inner, f"{place}[{row}]", number, scale, rest)
    elif inner.kind not in COMPOUND and scale % length == 0:
        yield from _in_elements(array.type, place, number, scale, offset)


def _array_members(
    type_: Type, base: Reading, number: str, scale: int, offset: int, depth: int, path: str = ""
) -> _Found:
    # Arrays in a structure of which the offset is in the first or a near element.
    if depth == 0:
        return
    for member in strip(type_).members:
        if member.bit_field_size is not None or offset < member.offset:
            continue
        bare = strip(member.type)
        length = size_of(member.type)
        if length and offset >= member.offset + length:
            continue
        name = ".".join(filter(None, (path, member.name)))
        rest = offset - member.offset
        if bare.kind is TypeKind.ARRAY:
            yield from _in_array(bare, member_text(base, name), number, scale, rest)
        elif bare.kind in COMPOUND and bare.is_complete():
            yield from _array_members(bare, base, number, scale, rest, depth - 1, name)


def _plus(number: str, moved: int) -> str:
    if not moved:
        return number
    if number.lstrip("-").isdigit():
        return str(int(number) + moved)
    return f"{number} {'+' if moved > 0 else '-'} {abs(moved)}"


def _at(
    base: Reading, place: str, type_: Type, offset: int, size: int | None, term: Term
) -> Iterator[Reading]:
    bare = strip(type_)
    whole = offset == 0 and (size is None or size_of(bare) == size)
    if bare.kind in COMPOUND and not (size is None and whole):
        at = Reading(term=base.term, text=base.text, type=base.type, place=place)
        found: tuple[MemberPath, ...] = ()
        try:
            found = members_at(bare, offset, size)
        except Unavailable:
            return  # this array is not the one
        for path in found:
            yield Reading(
                term=term,
                text=member_text(at, path.text),
                type=path.type,
                parent=base,
                member=(getattr(bare, "tag", None) or "", path.text),
                unsure=base.unsure,
            )
    elif whole:
        yield Reading(term=term, text=place, type=type_, parent=base, unsure=base.unsure)
