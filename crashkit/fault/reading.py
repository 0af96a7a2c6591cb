"""Terms to C expressions: what the source called the values the code computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drgn import Program, Type, TypeKind

from crashkit.dataflow import (
    Const,
    Entry,
    FrameAddress,
    Load,
    Masked,
    Parameter,
    Part,
    PerCpu,
    Result,
    Sum,
    Term,
    prototype_of,
)
from crashkit.errors import Reason, Unavailable
from crashkit.layout import COMPOUND, members_at, pointee, size_of, strip
from crashkit.symbols import SymbolAt, symbol_at

MOST_READINGS = 8
_U64 = 1 << 64
_SIMPLE = re.compile(r"[A-Za-z_][\w.\[\]()>-]*$")

CASTS: Mapping[tuple[str, str], str] = {
    ("sk_buff", "_nfct"): "struct nf_conn",
    ("sk_buff", "_skb_refdst"): "struct dst_entry",
    ("rb_node", "__rb_parent_color"): "struct rb_node",
}
"""Integer members that hold a pointer with flags in its low bits: skb_nfct(),
skb_dst() (include/linux/skbuff.h), rb_parent() (include/linux/rbtree_augmented.h)."""


@dataclass(frozen=True, kw_only=True)
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


class Reader:
    """Reads the terms of one function.

    :ivar parameters: where parameters are on entry, see
        :func:`crashkit.dataflow.parameters_of`
    """

    def __init__(self, prog: Program, parameters: Mapping[Term, Parameter]) -> None:
        self.prog = prog
        self.parameters = parameters
        self._known: dict[Term, tuple[Reading, ...] | Unavailable] = {}

    def readings(self, term: Term) -> tuple[Reading, ...]:
        """Every reading of a term, the most plausible first.

        :raises Unavailable: its type or definition is not known
        """
        known = self._known.get(term)
        if known is None:
            try:
                known = self._read(term)
            except Unavailable as missing:
                known = missing
            self._known[term] = known
        if isinstance(known, Unavailable):
            raise known
        return known

    def through(
        self, pointer: Term, offset: int, size: int, term: Term, index: int = 0
    ) -> tuple[Reading, ...]:
        """Read ``size`` bytes at ``pointer + offset + index``.

        :param index: bytes added by an index register; only with one may the access lie
            outside the first element that is pointed at
        :raises Unavailable: no reading of the pointer has something there
        """
        pointers: tuple[Reading, ...]
        if isinstance(pointer, Const):
            address = (pointer.value + offset) % _U64
            symbol, rest = self._object(address)
            pointers, offset = (symbol,), rest
        elif isinstance(pointer, FrameAddress):
            return (self._stack_parameter(pointer, offset, size, term),)
        else:
            pointers = self.readings(pointer)
        return _any_of(pointers, lambda base: dereference(base, offset, size, term, index=index))

    def _read(self, term: Term) -> tuple[Reading, ...]:
        match term:
            case Entry():
                return (self._parameter(term),)
            case Load(base=base, offset=offset, size=size):
                return self.through(base, offset, size, term)
            case PerCpu(base=base, offset=offset, size=size):
                return tuple(map(_this_cpu, self.through(base, offset, size, term)))
            case Sum(base=base, addend=addend):
                return _any_of(self.readings(base), lambda r: self._moved(r, addend, term))
            case Masked(base=base, mask=bits):
                return tuple(self._masked(r, bits, term) for r in self.readings(base))
            case Part(base=base, size=size, signed=signed):
                return tuple(_narrowed(r, size, signed, term) for r in self.readings(base))
            case Result(target=target):
                return (self._result(target, term),)
            case Const(value=value):
                return self._address_of(value, term)
        raise Unavailable("expression", Reason.OPTIMIZED_OUT, "where the value comes from is lost")

    def _parameter(self, term: Entry) -> Reading:
        parameter = self.parameters.get(term)
        if parameter is None:
            raise Unavailable(
                f"{term.register} on entry", Reason.NO_DEBUGINFO, "it is no known parameter"
            )
        return Reading(term=term, text=parameter.name, type=parameter.type)

    def _stack_parameter(self, frame: FrameAddress, offset: int, size: int, term: Term) -> Reading:
        parameter = self.parameters.get(FrameAddress(frame.offset + offset))
        if parameter is None or (size_of(parameter.type) or 0) > size:
            raise Unavailable("expression", Reason.UNSUPPORTED, "a variable on the stack")
        return Reading(term=term, text=parameter.name, type=parameter.type)

    def _object(self, address: int) -> tuple[Reading, int]:
        # The global object that contains an address, and the distance into it.
        symbol = symbol_at(self.prog, address)
        what = f"object at {address:#x}"
        if symbol is None:
            raise Unavailable(what, Reason.NO_DEBUGINFO, "no symbol is there")
        try:
            found = self.prog.variable(symbol.name)
        except LookupError as unknown:
            raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
        if found.address_ != symbol.address:
            raise Unavailable(what, Reason.AMBIGUOUS, f"another object is called {symbol.name}")
        reading = Reading(
            term=Const(symbol.address),
            text=f"&{symbol.name}",
            type=self.prog.pointer_type(found.type_),
            place=symbol.name,
        )
        return reading, address - symbol.address

    def _address_of(self, value: int, term: Term) -> tuple[Reading, ...]:
        reading, rest = self._object(value)
        if rest == 0:
            return (reading,)
        return self._moved(reading, rest, term)

    def _moved(self, reading: Reading, addend: int, term: Term) -> tuple[Reading, ...]:
        # A pointer plus a distance: the address of a member, or of another element.
        target = pointee(reading.type)
        if target is None:
            text = f"{_operand(reading.text)} {'+' if addend >= 0 else '-'} {abs(addend):#x}"
            return (Reading(term=term, text=text, type=reading.type, parent=reading),)
        if addend < 0:
            raise Unavailable("expression", Reason.UNSUPPORTED, "a pointer's container")
        if strip(target).kind not in COMPOUND:
            length = size_of(target)
            if not length or addend % length:
                raise Unavailable("expression", Reason.AMBIGUOUS, "between two elements")
            text = f"{_operand(reading.text)} + {addend // length}"
            return (Reading(term=term, text=text, type=reading.type, parent=reading),)
        return tuple(
            Reading(
                term=term,
                text=f"&{_member(reading, path.text)}",
                type=self.prog.pointer_type(path.type),
                place=_member(reading, path.text),
                parent=reading,
            )
            for path in members_at(target, addend)
            if path.complete
        )

    def _masked(self, reading: Reading, bits: int, term: Term) -> Reading:
        cleared = _U64 - 1 - bits
        shown = f"~{cleared:#x}" if cleared < bits else f"{bits:#x}"
        text = f"({_operand(reading.text)} & {shown})"
        type_ = reading.type
        held = CASTS.get(reading.member or ("", ""))
        if held is not None:
            try:
                type_ = self.prog.pointer_type(self.prog.type(held))
            except LookupError:
                type_ = reading.type  # then it stays an integer, which nothing follows
        return Reading(term=term, text=text, type=type_, parent=reading)

    def _result(self, target: int | None, term: Term) -> Reading:
        symbol = symbol_at(self.prog, target) if target is not None else None
        if symbol is None or symbol.address != target:
            raise Unavailable("expression", Reason.NO_DEBUGINFO, "the result of an unknown call")
        result = prototype_of(self.prog, SymbolAt(*_fields(symbol))).type
        if strip(result).kind in (TypeKind.VOID, *COMPOUND):
            raise Unavailable("expression", Reason.UNSUPPORTED, f"the result of {symbol.name}()")
        return Reading(term=term, text=f"{symbol.name}()", type=result)


def _fields(symbol: SymbolAt) -> tuple[str, int, int, str | None]:
    return symbol.name, symbol.address, symbol.size, symbol.module


def dereference(
    pointer: Reading, offset: int, size: int, term: Term, *, index: int = 0
) -> tuple[Reading, ...]:
    """Read ``size`` bytes through a pointer.

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
        element, rest = _element(offset, index, size_of(bare))
        base = _at(pointer, element)
        tag = getattr(bare, "tag", None) or ""
        return tuple(
            Reading(
                term=term,
                text=_member(base, path.text),
                type=path.type,
                parent=pointer,
                member=(tag, path.text),
            )
            for path in members_at(bare, rest, size)
        )
    return (_scalar(pointer, target, offset + index, size, term, indexed=index != 0),)


def _element(offset: int, index: int, length: int | None) -> tuple[int, int]:
    # Without an index register the access lies in the one object pointed at.
    if not index or not length:
        return 0, offset + index
    return divmod(offset + index, length)


def _at(pointer: Reading, element: int) -> Reading:
    if element == 0:
        return pointer
    place = f"{_operand(pointer.text)}[{element}]"
    return Reading(term=pointer.term, text=pointer.text, type=pointer.type, place=place)


def _scalar(
    pointer: Reading, target: Type, offset: int, size: int, term: Term, *, indexed: bool
) -> Reading:
    length = size_of(target)
    bare = strip(target)
    if length is None or bare.kind is TypeKind.FUNCTION:
        raise Unavailable(
            pointer.text, Reason.NOT_APPLICABLE, f"nothing describes what {pointer.text} points at"
        )
    if bare.kind is TypeKind.ARRAY and pointer.place is not None:
        path = members_at(bare, offset, size)[0]
        return Reading(
            term=term, text=f"{pointer.place}{path.text}", type=path.type, parent=pointer
        )
    if length != size or offset % length or (offset and not indexed and offset < 0):
        raise Unavailable(
            pointer.text,
            Reason.AMBIGUOUS,
            f"{size} bytes at {offset:#x} are no {target.type_name()}",
        )
    if offset:
        text = f"{_operand(pointer.text)}[{offset // length}]"
    else:
        text = pointer.place or f"*{_operand(pointer.text)}"
    return Reading(term=term, text=text, type=target, parent=pointer)


def _member(pointer: Reading, path: str) -> str:
    if not path:
        return pointer.place or f"*{_operand(pointer.text)}"
    if pointer.place is not None:
        return f"{pointer.place}.{path}"
    return f"{_operand(pointer.text)}->{path}"


def _operand(text: str) -> str:
    return text if _SIMPLE.match(text) or text.startswith("(") else f"({text})"


def _this_cpu(reading: Reading) -> Reading:
    return Reading(
        term=reading.term,
        text=f"this_cpu({reading.text})",
        type=reading.type,
        parent=reading.parent,
        member=reading.member,
    )


def _narrowed(reading: Reading, size: int, signed: bool, term: Term) -> Reading:
    length = size_of(reading.type)
    text = reading.text
    if length is None or length > size:
        text = f"({'s' if signed else 'u'}{8 * size}){_operand(text)}"
    return Reading(term=term, text=text, type=reading.type, parent=reading.parent)


def _any_of(
    readings: tuple[Reading, ...], follow: Callable[[Reading], tuple[Reading, ...]]
) -> tuple[Reading, ...]:
    # What follows from any of the readings; if nothing does, why the first did not.
    found: list[Reading] = []
    failure: Unavailable | None = None
    for reading in readings:
        try:
            found.extend(follow(reading))
        except Unavailable as missing:
            failure = failure or missing
    if found:
        return tuple(found[:MOST_READINGS])
    raise failure or Unavailable("expression", Reason.NO_DEBUGINFO, "nothing describes it")
