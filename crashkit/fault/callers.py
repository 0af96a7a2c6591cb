"""Where a parameter's value came from: the callers, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from drgn import Program, TypeKind

from crashkit.arguments.activation import physical
from crashkit.arguments.answer import Answer
from crashkit.arguments.edges import Edge
from crashkit.arguments.pt_regs import user_registers
from crashkit.arguments.resolve import Resolver
from crashkit.dataflow import Entry, Incoming, Load, Result, Term, prototype_of
from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.fault.chain import Identify, links
from crashkit.fault.given import kthread_data, lent, on_entry, type_on_the_way
from crashkit.fault.here import Here, Place, Prototype
from crashkit.fault.members import Reading, is_followed, is_same
from crashkit.fault.model import Link, OriginStep
from crashkit.fault.origins import OneOf
from crashkit.fault.returned import returned_by
from crashkit.fault.threads import thread_data
from crashkit.fault.values import Known, Values
from crashkit.layout import COMPOUND, pointee, strip
from crashkit.memory import is_kernel_address
from crashkit.symbols import SymbolAt
from crashkit.unwind import Frame
from crashkit.value import Certainty, facts

_MOST_FRAMES = 6
_DEEPEST = 10


class CallerValues(Values):
    """Values of a frame that made a call: what of it is kept, and what it was passed."""

    def __init__(self, prog: Program, resolver: Resolver, position: int) -> None:
        frame = resolver.frames[position]
        stopped = resolver.stopped(position)
        call = stopped.call
        at = replace(frame, pc=call.address) if call is not None else frame
        self._resolver, self._position = resolver, position
        super().__init__(prog, at, stopped.flow)

    def _in_place(self, term: Term) -> Known | None:
        self._resolver.start()
        with suppress(Unavailable):
            return _known(self._resolver.kept(self._position, term))
        if isinstance(term, Entry):
            with suppress(Unavailable):
                return _known(self._resolver.entry(self._position, term.register))
        return None


def _known(answer: Answer) -> Known:
    certainty = Certainty.PROVED if answer.proved else Certainty.INFERRED
    return Known(value=answer.value, origin=answer.origin, certainty=certainty)


@facts
class Passed:
    """What one caller passed."""

    step: OriginStep
    here: Here
    reading: Reading | None = None
    """Without a text where it only is known which register of the caller's it was."""
    links: tuple[Link, ...] = ()

    @property
    def steps(self) -> Iterator[OriginStep]:
        """The step, then those of the values its own was read through."""
        yield self.step
        unsure = {one.text for one in _lineage(self.reading) if one.unsure}
        for link in reversed(self.links[:-1]):
            certainty = Certainty.INFERRED if link.expression in unsure else link.certainty
            yield replace(
                self.step, expression=link.expression, ctype=link.ctype, value=link.value,
                certainty=certainty, address=link.address, now=link.now,
                identity=link.identity, one_of=(),
            )  # fmt: skip


class Callers:
    """The frames from the fault outward.

    :ivar frames: without the inlined ones, the faulting one first
    """

    def __init__(
        self, prog: Program, fault: Frame, frames: Sequence[Frame], identify: Identify
    ) -> None:
        self._prog = prog
        self._identify = identify
        outward = physical(frames)
        self.frames = outward if outward and outward[0].pc == fault.pc else (fault,)
        user = user_registers(prog, self.frames)
        self._resolver = Resolver(prog=prog, frames=self.frames, user=user)
        self._heres: dict[int, Here] = {}

    def here(self, position: int) -> Here:
        """A caller's frame at its call.

        :raises Unavailable: its code or the call is not known
        """
        if position not in self._heres:
            stopped = self._resolver.stopped(position)
            values = CallerValues(self._prog, self._resolver, position)
            place = Place(
                prog=self._prog,
                function=stopped.function,
                flow=stopped.flow,
                pc=values.frame.pc,
                sp=self.frames[position].sp,
                prototype=self.prototype_of(stopped.function, position),
                passed=partial(self.passed, position),
            )
            self._heres[position] = Here(place, values, self._identify)
        return self._heres[position]

    def on_entry(self, register: str) -> Known:
        """What a register held when the faulting function was entered.

        :raises Unavailable: no caller tells
        """
        self._resolver.start()
        return _known(self._resolver.passed(0, register))

    def prototype_of(self, function: SymbolAt, position: int = 0) -> Prototype | None:
        """Type of a frame's function by the pointer it was called through.

        Asked for one that nothing else describes; None where that does not tell either.
        """
        with suppress(Unavailable):
            prototype_of(self._prog, function)
            return None
        if not self._has_caller(position):
            return None
        with suppress(Unavailable):
            edge = self._resolver.edge(position)
            call = edge.caller.call
            if edge.verified and edge.is_plain and call is not None:
                return self._pointed_at(self.here(position + 1), call)
        return None

    def _has_caller(self, position: int) -> bool:
        # Each frame may ask its caller: a stack that overflowed has thousands.
        return position + 1 < min(len(self.frames), _DEEPEST)

    def _pointed_at(self, here: Here, call: Instruction) -> Prototype | None:
        target = target_of(here, call)
        if target is None:
            return None
        readings = here.reader.readings(target)
        first, *others = [strip(pointee(reading.type) or reading.type) for reading in readings]
        if first.kind is not TypeKind.FUNCTION:
            return None
        if any(other.type_name() != first.type_name() for other in others):
            return None
        return Prototype(type=first, unsure=any(reading.unsure for reading in readings))

    def passed(self, position: int, register: str) -> Reading | None:
        """Read a register on entry to a frame's function as its caller had it.

        :returns: None where there is no caller, or its types do not tell
        """
        if not self._has_caller(position):
            return None
        self._resolver.start()
        with suppress(Unavailable):
            edge = self._resolver.edge(position)
            if not edge.verified:
                return None
            if _is_thread(edge, register):
                return kthread_data(self._prog)
            given = self._given(position, edge, register)
            if given is not None and is_followed(given.type):
                return given
            taken = type_on_the_way(self._prog, edge, register)
            if taken is not None:
                text = f"(({taken.type_name()})({on_entry(register)}))"
                return Reading(term=Entry(register), text=text, type=taken, lent=True)
            return given
        return None

    def _given(self, position: int, edge: Edge, register: str) -> Reading | None:
        with suppress(Unavailable):
            here = self.here(position + 1)
            terms, complete = edge.terms(register)
            found = [_likeliest(here, term) for term in terms]
            if not complete:
                found = [replace(reading, unsure=True) for reading in found]
            return lent(found, register)
        return None

    def trace(self, bad: Reading, values: Values, start: int = 0) -> tuple[Passed, ...]:
        """Follow the first value of a chain to the callers that passed it.

        :param values: of the frame whose chain it is; a caller that had another value did
            not pass it
        :param start: position of that frame
        :returns: at most six frames' steps; those that could be made
        """
        found: list[Passed] = []
        first = _first(bad)
        position = start
        while len(found) < _MOST_FRAMES and position + 1 < len(self.frames):
            if not isinstance(first.term, Entry):
                break
            try:
                passed = self._step(position, first)
                self._check(position, passed, first, _proved(values, first.term))
            except Unavailable:
                break
            found.append(passed)
            if passed.reading is None:
                break
            first = _first(passed.reading)
            values = passed.here.values
            position += 1
        return tuple(found)

    def _step(self, position: int, passed: Reading) -> Passed:
        register = passed.term.register if isinstance(passed.term, Entry) else ""
        self._resolver.start()
        edge = self._resolver.edge(position)
        terms, complete = edge.terms(register)
        here = self.here(position + 1)
        frame = self.frames[position + 1]
        step = OriginStep(
            frame=frame.index,
            function=frame.function or "?",
            parameter=register if passed.lent else passed.text or register,
            expression=None,
            ctype=None,
            value=None,
            certainty=Certainty.INFERRED,
        )
        if _is_thread(edge, register):
            return Passed(step=self._of_thread(step, edge), here=here)
        if not edge.is_plain and not edge.hands_on(register):
            ways = set(edge.chains) | {chain for other in edge.others for chain in other.chains}
            complete = complete and len(ways) == 1
            between = ways.pop() if len(ways) == 1 else ()
            step = replace(step, through=tuple(function.name for function in between))
        if len(terms) != 1:
            return Passed(step=replace(step, one_of=_texts(here, tuple(terms))), here=here)
        return self._said(here, step, next(iter(terms)), edge, complete)

    def _of_thread(self, step: OriginStep, edge: Edge) -> OriginStep:
        step = replace(step, expression=kthread_data(self._prog).text)
        with suppress(Unavailable):
            data = thread_data(self._prog, edge.callee)
            value = int(data.value_())
            identity = self._identify(value)
            return replace(step, value=value, now=value, address=data.address_, identity=identity)
        return step

    def _check(self, position: int, passed: Passed, to: Reading, value: int | None) -> None:
        # A call through a pointer that is lost may have gone to a function that jumped here
        # with arguments of its own: then only the value tells.
        given = passed.step.value
        what = f"what {passed.step.function} passed"
        if given is not None and value is not None and given != value:
            raise Unavailable(what, Reason.NOT_APPLICABLE, "it had another value")
        if self._resolver.edge(position).verified:
            return
        if given is not None and given == value and is_kernel_address(given):
            return
        if not _is_alike(passed.reading, to, any_type=given is not None and given == value):
            raise Unavailable(what, Reason.AMBIGUOUS, "what it called is not known")

    def _said(self, here: Here, step: OriginStep, raw: Term, edge: Edge, complete: bool) -> Passed:
        term = here.expanded(raw)
        with suppress(Unavailable):
            known = here.values.at_fault(term)
            sure = complete and edge.verified and known.certainty is Certainty.PROVED
            step = replace(
                step,
                value=known.value,
                certainty=Certainty.PROVED if sure else Certainty.INFERRED,
                identity=self._identify(known.value),
            )
        if isinstance(term, Load):
            with suppress(Unavailable):
                step = replace(step, address=here.values.address_of(term))
                step = replace(step, now=here.values.now(term))
        if isinstance(term, Result):
            step = replace(step, returned_by=returned_by(self._prog, _went_to(here, term)))
        if isinstance(term, OneOf):
            step = replace(step, one_of=_texts(here, term.alternatives))
        try:
            reading = _likeliest(here, raw)
        except Unavailable:
            lost = Reading(term=term, text="", type=self._prog.void_type())
            goes_on = lost if isinstance(term, (Entry, Incoming)) else None
            return Passed(step=step, here=here, reading=goes_on)
        step = replace(step, expression=reading.text, ctype=reading.type.type_name())
        if reading.unsure:
            step = replace(step, certainty=Certainty.INFERRED)
        return Passed(step=step, here=here, reading=reading, links=self._links(here, reading))

    def _links(self, here: Here, reading: Reading) -> tuple[Link, ...]:
        return links(reading, here.values, self._identify)


def _likeliest(here: Here, term: Term) -> Reading:
    # An inference where others fit as well.
    first, *others = here.reader.readings(here.expanded(term))
    return replace(first, unsure=True) if others else first


def _is_thread(edge: Edge, register: str) -> bool:
    # kernel/kthread.c: ``ret = threadfn(data)``. What it read that from is gone by then.
    function, call = edge.caller.function, edge.caller.call
    indirect = call is not None and call.target is None
    return indirect and (function.name, function.module, register) == ("kthread", None, "rdi")


def _proved(values: Values, term: Term) -> int | None:
    with suppress(Unavailable):
        known = values.at_fault(term)
        return known.value if known.certainty is Certainty.PROVED else None
    return None


def _is_alike(one: Reading | None, other: Reading, *, any_type: bool) -> bool:
    # Of the same type: of any where the value is the same, too, else a structure's pointer.
    if one is None or not one.text or not is_same(one.type, other.type):
        return False
    target = pointee(one.type)
    return any_type or (target is not None and strip(target).kind in COMPOUND)


def target_of(here: Here, call: Instruction, at: int | None = None) -> Term | None:
    """What an indirect call goes to; None for a direct one, and through a segment.

    :param at: its address, where it is not the instruction that the place is stopped at
    """
    if call.target is not None:
        return None
    if call.via is not None:
        return here.origins.register(call.via, at)
    memory = call.memory
    if memory is None or memory.segment is not None:
        return None
    return Load(here.origins.address(call, memory), 0, 8, call.address)


def _went_to(here: Here, result: Result) -> int | None:
    # Through a pointer: to where that points now.
    if result.target is not None:
        return result.target
    call = here.place.flow.instructions.get(result.at)
    if call is None:
        return None
    pointer = target_of(here, call, call.address)
    ways = [pointer] if pointer is not None else []
    if isinstance(pointer, Load) and isinstance(pointer.base, OneOf):
        ways = [replace(pointer, base=way) for way in pointer.base.alternatives]
    targets = {here.value(way) for way in ways}
    return targets.pop() if len(targets) == 1 else None


def _texts(here: Here, terms: Sequence[Term]) -> tuple[str, ...]:
    found = []
    for term in terms:
        with suppress(Unavailable):
            found.append(here.reader.readings(here.expanded(term))[0].text)
    return tuple(sorted(set(found)))


def _lineage(reading: Reading | None) -> Iterator[Reading]:
    while reading is not None:
        yield reading
        reading = reading.parent


def _first(reading: Reading) -> Reading:
    return [*_lineage(reading)][-1]
