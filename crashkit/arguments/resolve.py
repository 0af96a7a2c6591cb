"""Values of terms and of entry registers in the frames of one stack.

A term of a frame's function is a number as it stands, or is still in a register or a
stack slot, or is what a register held on entry, and then the caller's state before its
call has it. Reading memory again is the weakest way: it may have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from drgn import Program

from crashkit.arguments.activation import Stopped, function_of, stopped_at
from crashkit.arguments.answer import Answer, short
from crashkit.arguments.derive import derived
from crashkit.arguments.edges import Edge, edge_between
from crashkit.arguments.pt_regs import UserRegisters
from crashkit.arguments.readings import (
    extended,
    in_register,
    low,
    passed_terms,
    stack_pointer,
    with_value,
)
from crashkit.arguments.replay import Replays, may_differ
from crashkit.dataflow import (
    UNKNOWN,
    Const,
    Entry,
    FrameAddress,
    Incoming,
    Load,
    Masked,
    Part,
    Term,
    split,
)
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.registers import CALLEE_SAVED, CALLER_SAVED
from crashkit.unwind import Frame
from crashkit.value import Origin

_Read = Callable[[], Answer]
_U64 = (1 << 64) - 1
_MOST_STEPS = 400
_DEEPEST = 48


@dataclass(kw_only=True)
class Resolver:
    """Answers for the frames of one stack, innermost first, none of them inlined."""

    prog: Program
    frames: Sequence[Frame]
    user: UserRegisters
    """Where the registers of a system call's caller lie."""
    _steps: int = 0
    _deep: int = 0
    _edges: dict[int, Edge] = field(default_factory=dict)
    _no_edges: dict[int, Unavailable] = field(default_factory=dict)
    _sought: set[int] = field(default_factory=set)
    _replays: Replays = field(init=False)

    def __post_init__(self) -> None:
        self._replays = Replays(self.prog, self._constant, frozenset(self.user.members))

    def start(self) -> None:
        """Begin a new question: its work is counted from here."""
        self._steps = 0
        self._deep = 0

    def stopped(self, position: int) -> Stopped:
        """The function of a frame, analysed.

        :raises Unavailable: see :func:`stopped_at`
        """
        return stopped_at(self.prog, self.frames[position])

    def entry(self, position: int, register: str, size: int = 8) -> Answer:
        """What ``register`` held when the frame's function was entered: the best answer.

        :param size: low bytes that are wanted
        :raises Unavailable: no way has it
        """
        self._count(f"{register} of {self.frames[position].function}")
        self._deep += 1
        try:
            try:
                kept = self.kept(position, Entry(register), size)
            except Unavailable:
                return self.passed(position, register, size)
            if kept.proved:
                return kept
            try:
                passed = self.passed(position, register, size)
            except Unavailable:
                return kept
            return passed if passed.proved else kept
        finally:
            self._deep -= 1

    def kept(self, position: int, term: Term, size: int = 8) -> Answer:
        """Find a term in a register or slot of its own frame.

        :raises Unavailable: nothing holds it any longer
        """
        here = self.stopped(position)
        root, distance = split(low(term, size))
        if root == UNKNOWN:
            raise Unavailable(short(term), Reason.OPTIMIZED_OUT, "no register or slot keeps it")
        for held, read in self._held(position, here, size):
            base, offset = split(low(held, size))
            if base == root:
                return read().moved(distance - offset).weaker(here.flow.complete)
        return self._given_on(position, here, root, size).moved(distance)

    def _given_on(self, position: int, here: Stopped, root: Term, size: int) -> Answer:
        # What it passed in its own call, if the function that was entered by it has kept that.
        if position and not self.frames[position].interrupted:
            with suppress(Unavailable):
                return self._given_to(position - 1, self.edge(position - 1), here, root, size)
        raise Unavailable(short(root), Reason.OPTIMIZED_OUT, "no register or slot keeps it")

    def _given_to(self, callee: int, edge: Edge, here: Stopped, root: Term, size: int) -> Answer:
        for place, held in passed_terms(here) if edge.is_plain else edge.certain_terms():
            base, distance = split(low(held, size))
            if base != root:
                continue
            with suppress(Unavailable):
                kept = self.kept(callee, place, size)
                name = self.frames[callee].function
                how = f"what it passed to {name}, which has {short(place)} in {kept.how}"
                certain = edge.verified and here.flow.complete
                return replace(kept.moved(-distance), how=how).weaker(certain)
        raise Unavailable(short(root), Reason.OPTIMIZED_OUT, "it was not passed on")

    def passed(self, position: int, register: str, size: int = 8) -> Answer:
        """What the caller had in ``register`` before its call of this frame's function.

        :raises Unavailable: there is no caller, or it has not kept it
        """
        edge = self.edge(position)
        try:
            found = self._passed(position, edge, register, size)
        except Unavailable:
            if not may_differ(edge, register):
                raise
            return self._passed(position, self._replayed(position, edge), register, size)
        if not found.proved and edge.verified and may_differ(edge, register):
            with suppress(Unavailable):
                again = self._passed(position, self._replayed(position, edge), register, size)
                return again if again.proved else found
        return found

    def _replayed(self, position: int, edge: Edge) -> Edge:
        caller = position + 1
        kept = self._steps, self._deep
        self.start()
        try:
            stopped = partial(self.stopped, caller)
            return edge.by(self._replays.of(caller, stopped, partial(self.entry, caller)))
        finally:
            self._steps, self._deep = kept

    def _constant(self, address: int, size: int) -> int | None:
        if self.user.stable(address, size) is None:
            return None
        return int.from_bytes(read_bytes(self.prog, address, size), "little")

    def _passed(self, position: int, edge: Edge, place: str | Incoming, size: int) -> Answer:
        terms, complete = edge.terms(place)
        register = place if isinstance(place, str) else short(place)
        caller = position + 1
        answers = [self.term(caller, term, size) for term in terms]
        if not answers:
            raise Unavailable(register, Reason.OPTIMIZED_OUT, "the way of its calls is not known")
        cut = (1 << 8 * size) - 1
        if len({answer.value & cut for answer in answers}) > 1:
            raise Unavailable(register, Reason.AMBIGUOUS, "several tail calls lead here")
        frame = self.frames[caller]
        how = f"{frame.function}+{edge.call_offset:#x} {edge.words} with {register} = "
        if edge.caller.flow.from_file:
            how = f"(code of {frame.function} by the vmlinux file) {how}"
        best = min(answers, key=lambda answer: answer.proved)  # the weakest of them counts
        words = {answer.how for answer in answers}
        return Answer(
            value=best.value,
            proved=best.proved and complete and edge.verified,
            origin=Origin.DATAFLOW,
            how=how + (best.how if len(words) == 1 else "the same on each way"),
        )

    def passed_on_stack(self, position: int, offset: int, size: int = 8) -> Answer:
        """What the caller had stored for the argument at CFA plus ``offset``.

        :raises Unavailable: there is no caller, or the call was not a plain one
        """
        edge = self.edge(position)
        if not edge.is_plain:
            return self._passed(position, edge, Incoming(offset), size)
        what = f"the argument at CFA{offset:+#x}"
        before = edge.caller.before
        stack = before.register("rsp")
        slot = None
        if isinstance(stack, FrameAddress):
            slot = before.slots.get(stack.offset + offset)
        if slot is None or slot.size < size:
            raise Unavailable(what, Reason.OPTIMIZED_OUT, "what its caller stored is not known")
        answer = self.term(position + 1, slot.term, size)
        name = self.frames[position + 1].function
        how = f"{name}+{edge.call_offset:#x} {edge.words} with {answer.how} on the stack"
        certain = edge.verified and edge.caller.flow.complete
        return replace(answer, how=how).weaker(certain)

    def edge(self, position: int) -> Edge:
        """How the frame's function was entered from the frame after it.

        :raises Unavailable: it was not called, or the call leads elsewhere
        """
        known = self._edges.get(position)
        if known is None:
            if position in self._no_edges:
                raise self._no_edges[position]
            if position in self._sought:
                what = f"caller of {self.frames[position].function}"
                raise Unavailable(what, Reason.AMBIGUOUS, "it follows from itself")
            self._sought.add(position)
            try:
                known = self._edges[position] = self._find_edge(position)
            except Unavailable as missing:
                if len(self._sought) == 1:  # not for want of one that is under way
                    self._no_edges[position] = missing
                raise
            finally:
                self._sought.remove(position)
        return known

    def _find_edge(self, position: int) -> Edge:
        caller = position + 1
        what = f"caller of {self.frames[position].function}"
        if caller >= len(self.frames):
            raise Unavailable(what, Reason.NOT_APPLICABLE, "the stack ends there")
        if self.frames[caller].interrupted:
            raise Unavailable(what, Reason.NOT_APPLICABLE, "it was entered by an interrupt")
        if self.frames[caller].how == "call-site scan":
            raise Unavailable(what, Reason.UNSUPPORTED, "its frame was found by a search")

        def value_of(term: Term) -> int:
            return self.term(caller, term).value

        callee = self._entry_address(position)
        return edge_between(self.prog, self.stopped(caller), callee, value_of)

    def _entry_address(self, position: int) -> int:
        # A cold part belongs to the function that its hot part begins.
        try:
            return self.stopped(position).flow.entry
        except Unavailable:
            function = function_of(self.frames[position])
            if ".cold" in function.name:
                raise
            return function.address

    def term(self, position: int, term: Term, size: int = 8) -> Answer:
        """What a term of the frame's function is worth.

        :raises Unavailable: nothing in the dump tells any longer
        """
        self._count(short(term))
        root, distance = split(low(term, size))
        if isinstance(root, Const):
            value = (root.value + distance) & _U64
            return Answer(value=value, proved=True, origin=Origin.DATAFLOW, how=f"{value:#x}")
        if isinstance(root, FrameAddress):
            return self._frame_address(position, root.offset)
        try:
            kept = self.kept(position, root, size)
        except Unavailable:
            return self._made(position, root, size).moved(distance)
        if kept.proved:
            return kept.moved(distance)
        try:
            made = self._made(position, root, size)
        except Unavailable:
            made = kept
        return (made if made.proved else kept).moved(distance)

    def _made(self, position: int, root: Term, size: int) -> Answer:
        # A term that nothing holds: by what it was made from.
        if isinstance(root, Entry):
            if root.register in CALLEE_SAVED:
                return self._callee_saved(position, root.register, size)
            return self.entry(position, root.register, size)
        if isinstance(root, Incoming):
            return self.passed_on_stack(position, root.offset, size)
        if isinstance(root, Part):
            found = self.term(position, root.base, min(size, root.size))
            return with_value(found, extended(found.value, root.size, root.signed))
        if isinstance(root, Masked):
            found = self.term(position, root.base, size)
            return with_value(found, found.value & root.mask)
        if isinstance(root, Load):
            return self._reload(position, root)
        return self._derived(position, root, size)

    def _derived(self, position: int, root: Term, size: int) -> Answer:
        here, frame = self.stopped(position), self.frames[position]
        stop = here.call.address if here.call else frame.pc
        self._deep += 1
        try:
            found = derived(here, stop, root, size, partial(self.term, position))
        finally:
            self._deep -= 1
        return found.weaker(here.flow.complete)

    def _callee_saved(self, position: int, register: str, size: int) -> Answer:
        caller = position + 1
        if caller < len(self.frames) and not self.frames[caller].interrupted:
            held = self.frames[caller].registers.get(register)
            if held is not None:
                return in_register(register, held)
        return self.passed(position, register, size)

    def _frame_address(self, position: int, offset: int) -> Answer:
        frame = self.frames[position]
        cfa, agreed = self._cfa(position)
        value = (cfa + offset) & _U64
        how = f"{value:016x}, an address in {frame.function}'s frame"
        return Answer(value=value, proved=agreed, origin=Origin.DATAFLOW, how=how)

    def _cfa(self, position: int) -> tuple[int, bool]:
        # By the code and rsp, and whether the unwinder has the same. The entry code has
        # symbols in its middle, where the frame did not begin.
        frame, here = self.frames[position], self.stopped(position)
        stack = here.before.register("rsp")
        if not isinstance(stack, FrameAddress):
            if frame.cfa is None:
                raise Unavailable("CFA", Reason.NOT_SAVED, f"the frame of {frame.function}")
            return frame.cfa, True
        cfa = (frame.sp - stack.offset) & _U64
        is_entry = (frame.function or "").startswith("entry_")
        return cfa, is_entry or frame.cfa in (None, cfa)

    def _reload(self, position: int, load: Load) -> Answer:
        base = self.term(position, load.base)
        address = (base.value + load.offset) & _U64
        data = read_bytes(self.prog, address, load.size, short(load))
        value = int.from_bytes(data, "little")
        register = self.user.stable(address, load.size) if base.proved else None
        if register is not None:
            how = f"the system call's {register} at {address:016x}"
        else:
            how = f"what {address:016x} holds now ({base.how})"
        return Answer(
            value=extended(value, load.size, load.signed),
            proved=register is not None,
            origin=Origin.MEMORY,
            how=how,
        )

    # Places

    def _held(self, position: int, here: Stopped, size: int) -> Iterator[tuple[Term, _Read]]:
        # Each place whose content is known now: the term it holds, and how to read it.
        frame = self.frames[position]
        names = CALLEE_SAVED + (CALLER_SAVED if frame.interrupted else ())
        for name in names:
            known = frame.registers.get(name)
            if known is not None:
                yield here.now.register(name), partial(in_register, name, known)
        stack = here.before.register("rsp")
        if not isinstance(stack, FrameAddress):
            yield stack, partial(stack_pointer, frame.sp)
        for offset, slot in here.now.slots.items():
            if slot.size >= size and here.flow.is_own(offset, slot, here.call):
                yield slot.term, partial(self._in_slot, position, offset, slot.size)

    def _in_slot(self, position: int, offset: int, size: int) -> Answer:
        cfa, agreed = self._cfa(position)
        address = cfa + offset
        data = read_bytes(self.prog, address, size, f"the slot at {address:016x}")
        return Answer(
            value=int.from_bytes(data, "little"),
            proved=agreed,
            origin=Origin.MEMORY,
            how=f"the slot at {address:016x}",
        )

    def _count(self, what: str) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS or self._deep > _DEEPEST:
            raise Unavailable(what, Reason.BUDGET, "the way to its value is too long")
