"""Terms to C expressions: what the source called the values the code computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from drgn import Program, Type, TypeKind

from crashkit.dataflow import (
    Const,
    Defined,
    Entry,
    FrameAddress,
    Incoming,
    Load,
    Masked,
    Merged,
    Parameter,
    Part,
    PerCpu,
    Result,
    Sum,
    Term,
    prototype_of,
    signed64,
    split,
)
from crashkit.errors import Reason, Unavailable
from crashkit.fault.elements import Elements, this_cpu
from crashkit.fault.given import in_callers_terms, needs_callers, result_type
from crashkit.fault.guesses import as_plain_memory, beside_register, guessed
from crashkit.fault.hints import NO_HINTS, Hints
from crashkit.fault.joins import as_entry, called, of_one_type
from crashkit.fault.members import (
    Reading,
    dereference,
    is_anything,
    is_followed,
    made_of,
    member_text,
    narrowed,
    operand,
    short,
)
from crashkit.fault.origins import Computed, Element, OneOf
from crashkit.fault.statics import object_at, read_object
from crashkit.fault.tries import MOST_READINGS, any_of, quietly
from crashkit.layout import COMPOUND, members_at, pointee, size_of, strip
from crashkit.symbols import SymbolAt, symbol_at

__all__ = ["MOST_READINGS", "Reader", "Reading"]

_U64 = 1 << 64
_DEEPEST = 24
_LONGEST_INDEX = 40
_LARGEST_DECIMAL = 256
_LOST = "where the value comes from is lost"

CASTS: Mapping[tuple[str, str], str] = {
    ("sk_buff", "_nfct"): "struct nf_conn",
    ("sk_buff", "_skb_refdst"): "struct dst_entry",
    ("rb_node", "__rb_parent_color"): "struct rb_node",
}
"""Integer members that hold a pointer with flags in its low bits: skb_nfct(),
skb_dst() (include/linux/skbuff.h), rb_parent() (include/linux/rbtree_augmented.h)."""

RESULTS: Mapping[str, str] = {
    "__fdget()": "struct file",
    "__fdget_raw()": "struct file",
    "__fdget_pos()": "struct file",
}
"""Results that are a pointer with flags: __to_fd() (include/linux/file.h)."""


class Reader:
    """Reads the terms of one function.

    :ivar parameters: where parameters are on entry, see
        :func:`crashkit.dataflow.parameters_of`
    :ivar hints: what else tells of the terms: variables, registers, types that fit
    :param unsure: the parameters' types are an inference
    """

    def __init__(
        self,
        prog: Program,
        parameters: Mapping[Term, Parameter],
        hints: Hints = NO_HINTS,
        *,
        unsure: bool = False,
    ) -> None:
        self.prog = prog
        self.parameters = parameters
        self._unsure = unsure
        self.hints = hints
        self._elements = Elements(self)
        self._known: dict[Term, tuple[Reading, ...] | Unavailable] = {}
        self._deep = 0

    def readings(self, term: Term) -> tuple[Reading, ...]:
        """Every reading of a term, the most plausible first.

        :raises Unavailable: its type or definition is not known
        """
        known = self._known.get(term)
        if known is None and self._deep >= _DEEPEST:
            raise Unavailable("expression", Reason.UNSUPPORTED, "it is made in too many steps")
        if known is None:
            # A value that is made from itself, in a loop, is read by its other origins.
            self._known[term] = Unavailable("expression", Reason.AMBIGUOUS, "it is made in a loop")
            self._deep += 1
            try:
                known = self._named(term)
            except Unavailable as missing:
                known = missing
            finally:
                self._deep -= 1
            self._known[term] = known
        if isinstance(known, Unavailable):
            raise known
        return known

    def through(self, pointer: Term, offset: int, size: int, term: Term) -> tuple[Reading, ...]:
        """Read ``size`` bytes at ``pointer + offset``.

        :raises Unavailable: no reading of the pointer has something there
        """
        pointer, addend = split(pointer)
        offset += addend
        match pointer:
            case Const(value=value):
                return read_object(self.prog, (value + offset) % _U64, size, term)
            case FrameAddress():
                return self._in_frame(pointer, offset, size, term)
            case Element():
                return self._elements.through(pointer, offset, size, term)
        try:
            return any_of(
                self.readings(pointer), lambda base: dereference(base, offset, size, term)
            )
        except Unavailable as missing:
            found = guessed(self, pointer, offset, size, term) or as_plain_memory(
                self, pointer, offset, size, term
            )
            if not found:
                raise missing
            return found

    # Names

    def _named(self, term: Term) -> tuple[Reading, ...]:
        variables = self.hints.variables(term)
        if not variables:
            return self._read(term)
        try:
            found = self._read(term)
        except Unavailable:
            named = [Reading(term=term, text=v.name, type=v.type) for v in variables]
            return tuple(sorted(named, key=lambda r: not is_followed(r.type))[:1])
        entry = as_entry(found, variables)
        if entry is not None:
            return (entry,)
        if any(is_followed(reading.type) for reading in found):
            return tuple(called(r, variables[0].name) for r in found)
        # A pointer to anything, and the variable it was put into says what it points at.
        typed = next((v for v in variables if is_followed(v.type)), None)
        if typed is None:
            return found
        return tuple(replace(r, text=typed.name, type=typed.type, place=None) for r in found[:1])

    def _read(self, term: Term) -> tuple[Reading, ...]:
        match term:
            case Entry():
                return (self._parameter(term, term.register),)
            case Incoming(offset=offset):
                return (self._parameter(FrameAddress(offset), f"the argument at {offset:#x}"),)
            case Load():
                return self._loaded(term)
            case PerCpu(base=base, offset=offset, size=size):
                return tuple(map(this_cpu, self.through(base, offset, size, term)))
            case Sum(base=base, addend=addend):
                return self._sum(term, base, addend)
            case Masked(base=base, mask=bits):
                return tuple(self._masked(r, bits, term) for r in self.readings(base))
            case Part(base=base, size=size, signed=signed):
                return tuple(narrowed(r, size, signed, term) for r in self.readings(base))
            case Result(target=target):
                return (self._result(target, term),)
            case Const(value=value):
                return self._address_of(value, term)
        return self._read_found(term)

    def _loaded(self, term: Load) -> tuple[Reading, ...]:
        try:
            return self.through(term.base, term.offset, term.size, term)
        except Unavailable as missing:
            found = beside_register(self, term)
            if not found:
                raise missing
            return found

    def _read_found(self, term: Term) -> tuple[Reading, ...]:
        # What the search back from the fault made.
        match term:
            case FrameAddress(offset=offset):
                local, rest = self._local(offset)
                return self.moved(local, rest, term) if rest else (replace(local, term=term),)
            case OneOf(alternatives=alternatives):
                return (self._one_of(term, alternatives),)
            case Merged() | Defined():
                return self.readings(self._expanded(term))
            case Element():
                return self._elements.value(term)
            case Computed():
                return (self._computed(term),)
        raise Unavailable("expression", Reason.OPTIMIZED_OUT, _LOST)

    def _expanded(self, term: Term) -> Term:
        found = self.hints.expanded(term)
        if found == term:
            raise Unavailable("expression", Reason.AMBIGUOUS, "no single definition gives it")
        return found

    def _parameter(self, term: Entry | FrameAddress, where: str) -> Reading:
        parameter = self.parameters.get(term)
        if parameter is None:
            found = self.hints.entered(term) if isinstance(term, Entry) else None
            if found is not None:
                return found
            detail = "it is no known parameter"
            raise Unavailable(f"{where} on entry", Reason.NO_DEBUGINFO, detail)
        own = term if isinstance(term, Entry) else Incoming(term.offset)
        reading = self._as_declared(parameter, own)
        if isinstance(term, Entry) and needs_callers(reading):
            return in_callers_terms(reading, self.hints.entered(term))
        return reading

    def _as_declared(self, parameter: Parameter, term: Term) -> Reading:
        return Reading(term=term, text=parameter.name, type=parameter.type, unsure=self._unsure)

    def _in_frame(
        self, frame: FrameAddress, offset: int, size: int, term: Term
    ) -> tuple[Reading, ...]:
        parameter = self.parameters.get(FrameAddress(frame.offset + offset))
        if parameter is not None and (size_of(parameter.type) or 0) <= size:
            return (self._as_declared(parameter, term),)
        local, rest = self._local(frame.offset + offset)
        if not rest and size_of(local.type.type) == size:  # local.type is a pointer to it
            return (replace(local, term=term, text=local.place or "", type=local.type.type),)
        return dereference(local, rest, size, term)

    def _local(self, offset: int) -> tuple[Reading, int]:
        found = self.hints.local_at(offset)
        if found is None:
            raise Unavailable("expression", Reason.UNSUPPORTED, "a variable on the stack")
        local, rest = found
        reading = Reading(
            term=FrameAddress(offset - rest),
            text=f"&{local.name}",
            type=self.prog.pointer_type(local.type),
            place=local.name,
        )
        return reading, rest

    def _one_of(self, term: Term, alternatives: tuple[Term, ...]) -> Reading:
        # Whichever it was, it has their type; where it is tells it apart.
        register = self.hints.register_of(term)
        found = self._each(alternatives)
        reading = of_one_type(term, found, register)
        if len(found) == len(alternatives):
            return reading
        # What a loop makes of the value itself is read by what it is made of first.
        self._known = {t: r for t, r in self._known.items() if not isinstance(r, Unavailable)}
        self._known[term] = (reading,)
        try:
            again = of_one_type(term, self._each(alternatives), register)
        finally:
            del self._known[term]
        unsure = again.unsure or len(self._each(alternatives)) < len(alternatives)
        return replace(again, unsure=unsure)

    def _each(self, alternatives: tuple[Term, ...]) -> list[Reading]:
        return [r for t in alternatives for r in quietly(lambda t=t: self.readings(t))[:1]]  # type: ignore[misc]

    def _computed(self, term: Computed) -> Reading:
        left = self.readings(term.left)[0]
        right = self.number(term.right)
        sign = ">>" if term.operator == "sar" else term.operator
        text = f"{operand(left.text)} {sign} {operand(right)}"
        return made_of(left, term, text, left.type)

    def number(self, term: Term) -> str:
        """Write an integer by its expression, else by its value.

        :raises Unavailable: neither is known
        """
        if isinstance(term, Const):
            number = signed64(term.value)
            return f"-{short(-number)}" if number < 0 else short(number)
        value = self.hints.value(term)
        try:
            text = self.readings(term)[0].text
        except Unavailable:
            if value is None:
                raise
            return str(signed64(value))
        # What a division by a constant was made into, nobody recognises.
        return text if value is None or len(text) <= _LONGEST_INDEX else str(signed64(value))

    def _address_of(self, value: int, term: Term) -> tuple[Reading, ...]:
        reading, rest = object_at(self.prog, value)
        if rest == 0:
            return (reading,)
        return self.moved(reading, rest, term)

    # Arithmetic

    def _sum(self, term: Term, base: Term, addend: int) -> tuple[Reading, ...]:
        if isinstance(base, Element):
            return self._elements.address(base, addend, term)
        return any_of(self.readings(base), lambda r: self.moved(r, addend, term))

    def moved(self, reading: Reading, addend: int, term: Term) -> tuple[Reading, ...]:
        """Read a pointer plus a distance: the address of a member, or of another element.

        :raises Unavailable: nothing known begins there
        """
        target = pointee(reading.type)
        if is_anything(reading) or reading.bare:
            text = f"{operand(reading.text)} {'+' if addend >= 0 else '-'} {abs(addend):#x}"
            void = self.prog.pointer_type(self.prog.void_type())
            return (made_of(reading, term, text, void),)
        if target is None:
            text = f"{operand(reading.text)} {'+' if addend >= 0 else '-'} {short(abs(addend))}"
            return (made_of(reading, term, text, reading.type),)
        if addend < 0:
            return self._container(reading, addend, term)
        length = size_of(target)
        further = length and addend >= length and addend % length == 0
        if strip(target).kind not in COMPOUND or further:
            if not length or addend % length:
                raise Unavailable("expression", Reason.AMBIGUOUS, "between two elements")
            text = f"{operand(reading.text)} + {addend // length}"
            return (made_of(reading, term, text, reading.type),)
        return tuple(
            Reading(
                term=term,
                text=f"&{member_text(reading, path.text)}",
                type=self.prog.pointer_type(path.type),
                place=member_text(reading, path.text),
                parent=reading,
                unsure=reading.unsure,
            )
            for path in members_at(target, addend)
            if path.complete
        )

    def _container(self, reading: Reading, addend: int, term: Term) -> tuple[Reading, ...]:
        made = tuple(replace(r, term=term) for r in self.hints.around(reading, -addend))
        if not made:
            raise Unavailable("expression", Reason.UNSUPPORTED, "a pointer's container")
        return made

    def _masked(self, reading: Reading, bits: int, term: Term) -> Reading:
        cleared = _U64 - 1 - bits
        shown = f"~{cleared:#x}" if cleared < bits else f"{bits:#x}"
        text = f"({operand(reading.text)} & {shown})"
        type_ = reading.type
        if reading.bare:
            type_ = self.prog.pointer_type(self.prog.void_type())
        held = CASTS.get(reading.member or ("", "")) or RESULTS.get(reading.text)
        if held is not None:
            try:
                type_ = self.prog.pointer_type(self.prog.type(held))
            except LookupError:
                type_ = reading.type  # then it stays an integer, which nothing follows
        return made_of(reading, term, text, type_)

    def _result(self, target: int | None, term: Term) -> Reading:
        symbol = symbol_at(self.prog, target) if target is not None else None
        if symbol is None or symbol.address != target:
            raise Unavailable("expression", Reason.NO_DEBUGINFO, "the result of an unknown call")
        result = self._returned(symbol)
        if strip(result).kind in (TypeKind.VOID, *COMPOUND):
            raise Unavailable("expression", Reason.UNSUPPORTED, f"the result of {symbol.name}()")
        name = symbol.name.partition(".")[0]
        return Reading(term=term, text=f"{name}()", type=result)

    def _returned(self, function: SymbolAt) -> Type:
        try:
            return prototype_of(self.prog, function).type
        except Unavailable:
            result = result_type(self.prog, function)
            if result is None and "." not in function.name:
                raise  # a clone is a function of the source, and what it returned is its result
            return result or self.prog.pointer_type(self.prog.void_type())
