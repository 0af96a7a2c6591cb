"""What every register and stack slot holds at one instruction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from crashkit.dataflow.extents import EVERYTHING, NOTHING, Extents, both, overlaps
from crashkit.dataflow.terms import (
    NAMELESS,
    UNKNOWN,
    Entry,
    FrameAddress,
    Incoming,
    Merged,
    Term,
    add,
    names_block,
    names_instruction,
    part,
    split,
)
from crashkit.registers import GENERAL


@dataclass(frozen=True, slots=True)
class Slot:
    """A tracked piece of the function's stack frame."""

    size: int
    """Bytes."""
    term: Term
    """What it holds, zero-extended to 64 bits."""
    saved: bool = False
    """A prologue put a callee-saved register here: no pointer leads to it."""
    addresses: frozenset[int] = frozenset()
    """Frame addresses that it may hold and that need not be known anywhere else."""


@dataclass(slots=True)
class State:
    """Registers and stack slots before one instruction.

    Slots are keyed by their offset from the canonical frame address (CFA), the stack
    pointer before the call that entered the function.
    """

    registers: dict[str, Term]
    slots: dict[int, Slot] = field(default_factory=dict)
    escaped: Extents = NOTHING
    """Where a pointer that is known outside of what is tracked may lead, so that a call
    or a store through any pointer may change a slot there that is no saved register."""
    hides: bool = False
    """Some slot may have such addresses."""

    @classmethod
    def at_entry(cls, incoming: int = 0) -> State:
        """State before a function's first instruction.

        :param incoming: bytes of arguments on the stack, which are the function's to change
        """
        registers: dict[str, Term] = {name: Entry(name) for name in GENERAL}
        registers["rsp"] = FrameAddress(-8)
        slots = {offset: Slot(8, Incoming(offset)) for offset in range(0, incoming, 8)}
        return cls(registers=registers, slots=slots)

    @classmethod
    def unknown(cls) -> State:
        """State of which nothing is known."""
        return cls(registers=dict.fromkeys(GENERAL, UNKNOWN), escaped=EVERYTHING)

    @classmethod
    def entered_at(cls, block: int) -> State:
        """State in which only that each register holds something when a block is entered."""
        registers: dict[str, Term] = {name: Merged(block, name) for name in GENERAL}
        registers["rsp"] = UNKNOWN
        return cls(registers=registers, escaped=EVERYTHING)

    def copy(self) -> State:
        """Make an independent copy."""
        return State(
            registers=dict(self.registers),
            slots=dict(self.slots),
            escaped=self.escaped,
            hides=self.hides,
        )

    def register(self, name: str) -> Term:
        """Term in a register given by its full name; unknown for any other register."""
        return self.registers.get(name, UNKNOWN)

    def set_register(self, name: str, term: Term) -> None:
        """Write a full register; writing rsp gives up what lies below it."""
        if name == "rsp":
            self._move_stack_pointer(term)
        self.registers[name] = term

    def _move_stack_pointer(self, term: Term) -> None:
        if not isinstance(term, FrameAddress):
            # Nothing tells any longer which slots stores through rsp reach.
            self.drop_unsaved()
            self.escaped = EVERYTHING
            return
        # An interrupt overwrites what is below rsp: the kernel has no red zone.
        self.drop_below(term.offset)

    def drop_below(self, offset: int) -> None:
        """Forget the slots below an offset."""
        if any(place < offset for place in self.slots):
            self.slots = {place: slot for place, slot in self.slots.items() if place >= offset}

    def drop_unsaved(self) -> None:
        """Forget every slot that is not a saved register."""
        if self.slots:
            self.reveal_all()
            self.slots = {place: slot for place, slot in self.slots.items() if slot.saved}

    def drop_escaped(self) -> None:
        """Forget the slots that a callee or an unknown pointer may have changed."""
        if self.escaped == EVERYTHING:
            self.drop_unsaved()
        elif self.escaped:
            self.reveal_escaped()
            self.slots = {
                place: slot
                for place, slot in self.slots.items()
                if slot.saved or not overlaps(self.escaped, place, slot.size)
            }

    def hidden_slots(self) -> dict[int, Slot]:
        """The slots with frame addresses that need not be known anywhere else."""
        if not self.hides:
            return {}
        return {place: slot for place, slot in self.slots.items() if slot.addresses}

    def reveal_all(self) -> None:
        """Note that any slot may be read or replaced by an operation that is not followed."""
        if self.hidden_slots():
            self.escape(EVERYTHING)

    def reveal_escaped(self) -> None:
        """Note that an unknown pointer is read through by an operation that is not followed."""
        if any(overlaps(self.escaped, place, 8) for place in self.hidden_slots()):
            self.escape(EVERYTHING)

    def reveal(self, offset: int, size: int) -> None:
        """Note that bytes of the frame are read by an operation that is not followed."""
        for place in self.hidden_slots():
            if place < offset + size and offset < place + 8:
                self.escape(EVERYTHING)

    def escape(self, extents: Extents) -> None:
        """Note that a pointer to these parts of the frame may be known elsewhere."""
        self.escaped = both(self.escaped, extents)

    def store(self, offset: int, slot: Slot) -> None:
        """Write a slot; those it overlaps are forgotten."""
        end = offset + slot.size
        for place in self.hidden_slots():
            if place < end and offset < place + 8 and not offset <= place <= end - 8:
                self.escape(EVERYTHING)  # a part of an address stays
        self.slots = {
            place: old
            for place, old in self.slots.items()
            if place >= end or place + old.size <= offset
        }
        if slot.term != UNKNOWN:
            self.slots[offset] = slot
            self.hides = self.hides or bool(slot.addresses)

    def load(self, offset: int, size: int, signed: bool) -> Term | None:
        """Read a slot whose bytes at ``offset`` are tracked; None otherwise."""
        slot = self.slots.get(offset)
        if slot is None or slot.size < size or slot.term == UNKNOWN:
            return None
        return part(slot.term, size, signed)

    def forget_execution(self, address: int) -> None:
        """Forget every term that means an earlier execution of an instruction."""
        for name, term in self.registers.items():
            if type(term) not in NAMELESS and names_instruction(term, address):
                self.registers[name] = UNKNOWN
        stale = [p for p, slot in self.slots.items() if names_instruction(slot.term, address)]
        for place in stale:
            del self.slots[place]

    def join(self, other: State, at: int, lost: Lost | None = None) -> bool:
        """Keep what holds in both states; returns whether this one changed.

        Places that hold the same on each side, whatever it is, hold the same in the end:
        they share a :class:`~crashkit.dataflow.terms.Merged` of the block at ``at``.
        A term of ``other`` that names an earlier entry of that block does not survive.

        :param lost: says where a frame address that a register no longer has for certain
            may lead; everywhere without it
        """
        escaped = self.escaped
        self.escape(other.escaped)
        changed = False
        groups: _Groups = {}
        for name, mine in self.registers.items():
            theirs = other.registers[name]
            if mine is theirs and type(mine) in NAMELESS:
                continue  # as most are: said first, it saves the comparison
            if mine == theirs and not names_block(theirs, at):
                continue
            self._lose(at, name, lost, mine, theirs)
            merged = UNKNOWN if name == "rsp" else _merge(groups, at, name, mine, theirs)
            if merged != mine:
                self.registers[name] = merged
                changed = True
        if self.hides or other.hides:
            uncertain = self._uncertain(other)
            before = {place: self.slots.pop(place, None) for place in uncertain}
            changed = self._join_slots(other, at, groups) or changed
            self.slots.update(uncertain)
            changed = changed or before != uncertain
        else:
            changed = self._join_slots(other, at, groups) or changed
        return changed or self.escaped != escaped

    def _join_slots(self, other: State, at: int, groups: _Groups) -> bool:
        changed = False
        for place, slot in sorted(self.slots.items()):
            theirs = other.slots.get(place)
            if theirs is None or (theirs.size, theirs.saved) != (slot.size, slot.saved):
                del self.slots[place]
                changed = True
            elif slot is theirs and type(slot.term) in NAMELESS:
                continue
            elif slot.term != theirs.term or names_block(theirs.term, at):
                merged = _merge(groups, at, place, slot.term, theirs.term)
                if merged != slot.term:
                    self.slots[place] = Slot(slot.size, merged, slot.saved)
                    changed = True
        return changed

    def _uncertain(self, other: State) -> dict[int, Slot]:
        # Slots that have a hidden address on one way only, or another one on each.
        self.hides = True
        found: dict[int, Slot] = {}
        for place in {**self.hidden_slots(), **other.hidden_slots()}:
            mine, theirs = self.slots.get(place), other.slots.get(place)
            if mine == theirs:
                continue
            addresses: frozenset[int] = frozenset()
            for state, slot in ((self, mine), (other, theirs)):
                addresses |= slot.addresses if slot else frozenset()
                if any(abs(near - place) < 8 for near in state.slots if near != place):
                    self.escape(EVERYTHING)  # a part of it may be replaced
            found[place] = Slot(8, UNKNOWN, False, addresses)
        return found

    def _lose(self, at: int, name: str, lost: Lost | None, *terms: Term) -> None:
        # A frame address that is no longer followed may be stored through.
        for term in terms:
            if isinstance(term, FrameAddress):
                if lost is None or name == "rsp":
                    self.escape(EVERYTHING)
                else:
                    self.escape(lost(at, name, term.offset))


Lost: TypeAlias = Callable[[int, str, int], Extents]
"""Where a pointer may lead: the block at which it is lost, its register, its distance
from the CFA."""
_Groups: TypeAlias = dict[tuple[object, ...], tuple[str | int, int]]
# What two places must have in common, to the first such place and its distance.


def _merge(groups: _Groups, at: int, place: str | int, mine: Term, theirs: Term) -> Term:
    base, distance = split(mine)
    other, other_distance = split(theirs)
    if UNKNOWN in (base, other):
        return Merged(at, place)
    key = (base, other, distance - other_distance)
    first, its_distance = groups.setdefault(key, (place, distance))
    return add(Merged(at, first), distance - its_distance)
