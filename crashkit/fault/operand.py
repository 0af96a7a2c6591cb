"""The expression behind a memory operand, and which part of it was bad."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from crashkit.dataflow import (
    Const,
    Load,
    Masked,
    Part,
    PerCpu,
    Result,
    Sum,
    Term,
    Unknown,
    add,
    split,
)
from crashkit.dataflow.terms import Defined, signed64
from crashkit.disasm import Access, Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.fault.chain import links, steps
from crashkit.fault.draft import EXPRESSION, Draft
from crashkit.fault.here import Here
from crashkit.fault.members import dereference
from crashkit.fault.model import Alternative
from crashkit.fault.origins import Computed, Element, OneOf
from crashkit.fault.reading import Reading
from crashkit.fault.returned import how_made
from crashkit.fault.tries import any_of
from crashkit.memory import is_kernel_address
from crashkit.value import Certainty

_U64 = (1 << 64) - 1
_MOST_INDEX = 1 << 32
_MOST_DISTANCE = 1 << 20
_LAST_PAGE = _U64 - 4096


def explain_operand(draft: Draft, here: Here, trapping: Instruction, access: Access) -> None:
    """Say what an access evaluated; ``draft`` names the register that was bad.

    :raises Unavailable: nothing tells where the bad value comes from
    """
    register = draft.bad_register
    if register is None:
        return
    value = draft.registers[register]
    found = here.origins.register(register)
    pointer = here.origins.address(trapping, access.memory)
    root = _root(here, found)
    if root == Const(0):
        why = f"the code before it has set {register} to 0 itself"
        draft.lacks(Unavailable("expression", Reason.NOT_APPLICABLE, why), *EXPRESSION)
    if here.no_parameters is not None:
        draft.lacks(here.no_parameters, *EXPRESSION)
    chosen = narrowed(here, root)
    if chosen != root:
        pointer, root = replaced(pointer, root, chosen), split(chosen)[0]
    if type(root) in (Unknown, Defined) and not here.variables(root):
        why = f"where {register} comes from is not decided by the code before it"
        draft.lacks(Unavailable("expression", Reason.AMBIGUOUS, why), *EXPRESSION)
    draft.pointer = pointer
    explain_value(draft, here, root, value, register)
    try:
        draft.expressions = _read(here, pointer, access)
    except Unavailable as missing:
        draft.lacks(missing, "expression")
    if not draft.expressions or draft.expressions[0].member is None:
        container = _through_container(here, access, found)
        draft.expressions = container or draft.expressions
    if not draft.expressions or "%" in draft.expressions[0].text:
        named = _by_variable(here, access, found)
        if named:
            draft.expressions, root = named, found
            explain_value(draft, here, root, value, register)
    _conclude(draft, here, root)
    _blame_index(draft, here, access)
    expression = draft.expressions[0].text if draft.expressions else None
    draft.steps = steps(
        draft.chain, _first(root), here.place.flow, here.place.function.address, trapping,
        expression,
    )  # fmt: skip


def _blame_index(draft: Draft, here: Here, access: Access) -> None:
    # A sound base: what lies that far from it was bad, not the index as a number by itself.
    memory, register = access.memory, draft.bad_register
    if register is None or memory.base is None or register != memory.index:
        return
    if draft.address is None:
        return
    index = here.origins.register(register)
    while isinstance(index, Computed) and type(index.right) is Const:
        index = index.left  # rows[i].x: three times i, in steps of eight
    with suppress(Unavailable):
        draft.bad = plain(here.reader.readings(index)[0])
        draft.chain = links(draft.bad, here.values, draft.identify)
    where = draft.expressions[0].text if draft.expressions else None
    draft.diagnose(f"the address of {where}" if where else "the address", draft.address)


def explain_value(draft: Draft, here: Here, root: Term, value: int, register: str) -> None:
    """Name and diagnose the value that a bad register was computed from.

    :param value: what the register had, which may be more than the root of it
    """
    name = register
    with suppress(Unavailable):
        draft.bad = plain(here.reader.readings(root)[0])
        name = draft.bad.text
    own = _own_value(here, root, here.origins.register(register), value)
    if isinstance(root, OneOf) and (moved := _moved_alike(root)):
        own = (value - moved) & _U64
        name = _either(here, root) or name
    addend = signed64(value - own)
    made = how_made(draft.prog, root, own)
    draft.diagnose(name, own, addend if abs(addend) < 1 << 31 else 0, made)
    if isinstance(root, OneOf):
        draft.one_of = tuple(alternatives(here, root))


def _moved_alike(root: OneOf) -> int:
    # Whichever it is, the same distance was added to it; 0 where it was not.
    distances = {split(way)[1] for way in root.alternatives}
    return distances.pop() if len(distances) == 1 else 0


def _either(here: Here, root: OneOf) -> str | None:
    # What was moved, where every alternative has a name.
    texts = []
    for way in root.alternatives:
        try:
            texts.append(here.reader.readings(split(way)[0])[0].text)
        except Unavailable:
            return None
    return " or ".join(dict.fromkeys(texts))


def _own_value(here: Here, root: Term, held: Term, value: int) -> int:
    # Without what was added to it. What memory has counts if it explains the register.
    with suppress(Unavailable):
        known = here.values.at_fault(root)
        if known.certainty is Certainty.PROVED or _explains(known.value, held, value):
            return known.value
    base, addend = split(held)
    return (value - addend) & _U64 if base == root else value


def _explains(own: int, held: Term, value: int) -> bool:
    place, addend = split(held)
    distance = signed64(value - own - addend)
    if not isinstance(place, Element):
        return False
    if isinstance(place.index, PerCpu):
        return True  # a per-CPU pointer, and how far this CPU's copy is from it
    return distance % place.scale == 0 and 0 <= distance // place.scale < _MOST_INDEX


def _read(here: Here, pointer: Term, access: Access) -> tuple[Reading, ...]:
    # A segment base makes it this CPU's copy.
    found: Term = Unknown()
    if access.memory.segment is not None:
        found = PerCpu(pointer, 0, access.size, here.place.pc, access.memory.segment)
        return here.reader.readings(found)
    return here.reader.through(pointer, 0, access.size, found)


def _through_container(here: Here, access: Access, held: Term) -> tuple[Reading, ...]:
    # The distance to the container's start, which the sum with the member's own hides.
    memory = access.memory
    if memory.index is not None or memory.segment is not None or split(held)[1] >= 0:
        return ()
    with suppress(Unavailable):
        return any_of(
            here.reader.readings(held),
            lambda container: dereference(container, memory.displacement, access.size, Unknown()),
        )
    return ()


def _by_variable(here: Here, access: Access, held: Term) -> tuple[Reading, ...]:
    # The register as it is may be a variable, though what it was made of is lost.
    memory = access.memory
    if memory.index is None and here.origins.register(memory.base or "") == held:
        for variable in here.variables(held):
            named = Reading(term=held, text=variable.name, type=variable.type, unsure=True)
            with suppress(Unavailable):
                return dereference(named, memory.displacement, access.size, Unknown())
    return ()


def _conclude(draft: Draft, here: Here, root: Term) -> None:
    if draft.expressions:
        draft.bad = _bad_part(draft.expressions[0], root) or draft.bad
        unsure = draft.expressions[0].unsure or len(draft.expressions) > 1
        sure = here.place.flow.complete and not unsure and not isinstance(root, OneOf)
        draft.certainty = Certainty.PROVED if sure else Certainty.INFERRED
    if draft.bad is not None:
        draft.chain = links(draft.bad, here.values, draft.identify)


def _bad_part(expression: Reading, root: Term) -> Reading | None:
    # The innermost: a container is made of a pointer that was bad already.
    found: Reading | None = None
    reading: Reading | None = expression
    while reading is not None:
        if reading.term == root:
            found = reading
        reading = reading.parent
    return found


def plain(reading: Reading) -> Reading:
    """The pointer itself, where a reading is a guess of what lies around it."""
    while reading.parent is not None and reading.parent.term == reading.term:
        reading = reading.parent
    return reading


def _root(here: Here, term: Term) -> Term:
    # What distances and other arithmetic were applied to.
    while True:
        if isinstance(term, Sum):
            term = term.base
        elif isinstance(term, Element):
            base = here.value(term.base)
            sound = base is not None and is_kernel_address(base) and base < _LAST_PAGE
            term = term.index if sound or _is_distance(term, base) else term.base
        elif isinstance(term, OneOf):
            ways = {split(way)[0] for way in term.alternatives}
            if len(ways) > 1 or (term.alternatives[0],) == tuple(ways):
                return term
            term = ways.pop()
        else:
            return term


def _is_distance(term: Element, base: int | None) -> bool:
    # A sum does not say which of the two is the pointer: a small number is none.
    return term.scale == 1 and base is not None and 0 < base < _MOST_DISTANCE


def narrowed(here: Here, term: Term) -> Term:
    """Leave out the alternatives whose value is known and was another one."""
    if not isinstance(term, OneOf):
        return term
    held = here.origins.as_held(term)
    value = here.value(term)
    if held is None or value is None:
        return term
    begun = _walked(here, term, held, value)
    if begun is not None:
        return begun
    left = []
    for way in term.alternatives:
        with suppress(Unavailable):
            known = here.values.at_fault(way)
            if known.certainty is Certainty.PROVED and known.value != value:
                continue
        left.append(way)
    if not left or len(left) == len(term.alternatives):
        return term
    chosen = left[0] if len(left) == 1 else OneOf(tuple(left))
    here.origins.held.setdefault(chosen, held)
    return chosen


def _walked(here: Here, term: OneOf, held: Term, value: int) -> Term | None:
    # A pointer that a loop moves on: where it began, and how far it has come.
    first = [way for way in term.alternatives if split(way)[0] != held]
    if len(first) != 1 or isinstance(first[0], Load):
        return None  # what a list's entry leads to is another object
    with suppress(Unavailable):
        return add(first[0], signed64(value - here.values.at_fault(first[0]).value))
    return None


def replaced(term: Term, old: Term, new: Term) -> Term:
    """Write another term for each occurrence of one."""
    if term == old:
        return new
    match term:
        case Sum(base=base, addend=addend):
            return add(replaced(base, old, new), addend)
        case Load() | PerCpu() | Masked() | Part():
            return replace(term, base=replaced(term.base, old, new))
        case Element():
            return replace(
                term, base=replaced(term.base, old, new), index=replaced(term.index, old, new)
            )
        case Computed():
            return replace(
                term, left=replaced(term.left, old, new), right=replaced(term.right, old, new)
            )
    return term


def alternatives(here: Here, term: OneOf) -> Iterator[Alternative]:
    """Say of each definition what it reads and where it is."""
    start = here.place.function.address
    for way in term.alternatives:
        text, address, now = None, None, None
        with suppress(Unavailable):
            text = here.reader.readings(way)[0].text
        if isinstance(way, Load):
            with suppress(Unavailable):
                address = here.values.address_of(way)
                now = here.values.now(way)
        at = way.at if isinstance(way, (Load, PerCpu, Result)) else None
        yield Alternative(
            expression=text, offset=None if at is None else at - start, address=address, now=now
        )


def _first(term: Term) -> Term:
    # The root of a chain of reads.
    while isinstance(term, (Load, PerCpu, Sum, Masked, Part, Element)):
        term = term.base
    return term
