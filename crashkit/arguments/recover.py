"""Each parameter of a frame's function: its value, with the proof, or why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from drgn import Program, Type, TypeKind

from crashkit.arguments.activation import function_of, physical
from crashkit.arguments.answer import Answer
from crashkit.arguments.combine import combine
from crashkit.arguments.parts import Argument, MissingArgument
from crashkit.arguments.pt_regs import user_registers
from crashkit.arguments.resolve import Resolver
from crashkit.dataflow import Entry, FrameAddress, Incoming, Term
from crashkit.dataflow.prototype import parameters_of, prototype_of, source_prototype
from crashkit.errors import Reason, Unavailable
from crashkit.layout import size_of, strip
from crashkit.symbols import SymbolAt
from crashkit.symbols.dwarf_frame import has_debug_file
from crashkit.unwind import Frame

Recovered = tuple[tuple[Argument, ...], tuple[MissingArgument, ...]]
_DEBUG_INFO = "debug info"
Identify = Callable[[int], str | None]
"""Says what an address is, in a few words."""


class StackArguments:
    """The arguments of every frame of one stack.

    :ivar frames: the stack's frames without the inlined ones, innermost first
    """

    def __init__(
        self, prog: Program, frames: Sequence[Frame], *, identify: Identify | None = None
    ) -> None:
        """Look at a stack.

        :param frames: from the innermost frame of interest outward to the stack's end
        :param identify: says what a pointer points at; an annotation, never a ground
        """
        self.frames = physical(frames)
        self._prog = prog
        self._identify = identify
        user = user_registers(prog, self.frames)
        self._resolver = Resolver(prog=prog, frames=self.frames, user=user)
        self._has_debug_file = has_debug_file(prog)

    def of(self, position: int) -> Recovered:
        """Recover what a frame's function was called with.

        :returns: arguments, and the parameters whose value cannot be had; both empty
            when nothing describes the function
        """
        try:
            prototype, places = self._parameters(function_of(self.frames[position]))
        except Unavailable as missing:
            return (), self._all_missing(position, missing)
        found: list[Argument] = []
        lost: list[MissingArgument] = []
        for number, parameter in enumerate(prototype.parameters):
            name = parameter.name or f"argument {number}"
            try:
                argument = self._argument(position, name, parameter.type, places.get(name))
                argument = self._with_current(position, argument)
                found.append(self._identified(argument, parameter.type))
            except Unavailable as missing:
                lost.append(_missing(name, parameter.type, missing))
        return tuple(found), tuple(lost)

    def _parameters(self, function: SymbolAt) -> tuple[Type, dict[str, Term]]:
        try:
            prototype = prototype_of(self._prog, function)
        except Unavailable:
            if not self._has_debug_file:
                raise
            return self._clone_parameters(function)
        places = {parameter.name: term for term, parameter in parameters_of(prototype).items()}
        return prototype, places

    def _clone_parameters(self, function: SymbolAt) -> tuple[Type, dict[str, Term]]:
        # The debug file says of each clone which of its source's parameters it takes, where.
        from crashkit.arguments.debug_info import entry_registers

        prototype = source_prototype(self._prog, function)
        registers = entry_registers(self._prog, function.address)
        return prototype, {name: Entry(register) for name, register in registers.items()}

    def register_at_entry(self, position: int, register: str) -> Answer:
        """What a register held when the frame's function was entered.

        :raises Unavailable: nothing tells any longer
        """
        self._resolver.start()
        return self._resolver.entry(position, register)

    def _all_missing(self, position: int, why: Unavailable) -> tuple[MissingArgument, ...]:
        # A clone's parameters are not those of the source: named, and none answered.
        try:
            prototype = source_prototype(self._prog, function_of(self.frames[position]))
        except Unavailable:
            return ()
        return tuple(
            _missing(parameter.name or f"argument {n}", parameter.type, why)
            for n, parameter in enumerate(prototype.parameters)
        )

    def _argument(self, position: int, name: str, type_: Type, place: Term | None) -> Argument:
        size = _size(type_)
        what = f"{name} of {self.frames[position].function}()"
        self._resolver.start()
        ways: list[tuple[str, Answer]] = []
        problems: list[Unavailable] = []
        if isinstance(place, Entry):
            for way, ask in self._ways(position, place.register, size):
                try:
                    ways.append((way, ask()))
                except Unavailable as missing:
                    if way != _DEBUG_INFO:  # that it says nothing is no reason
                        problems.append(missing)
        elif isinstance(place, FrameAddress):
            for way, ask in self._stack_ways(position, place.offset, size):
                try:
                    ways.append((way, ask()))
                except Unavailable as missing:
                    problems.append(missing)
        else:
            raise Unavailable(what, Reason.UNSUPPORTED, "not passed in a register")
        if not ways:
            raise _most_telling(what, problems)
        return combine(name, type_.type_name(), size, ways)

    def _ways(
        self, position: int, register: str, size: int
    ) -> list[tuple[str, Callable[[], Answer]]]:
        frame = self.frames[position]

        def kept() -> Answer:
            answer = self._resolver.kept(position, Entry(register), size)
            return replace(answer, how=f"{frame.function} has {register} in {answer.how}")

        ways = [
            ("the function", kept),
            ("its caller", lambda: self._resolver.passed(position, register, size)),
        ]
        if self._has_debug_file:
            from crashkit.arguments.debug_info import passed_by_call_site

            ways.append(
                (_DEBUG_INFO, lambda: passed_by_call_site(self._resolver, position, register))
            )
        return ways

    def _stack_ways(
        self, position: int, offset: int, size: int
    ) -> list[tuple[str, Callable[[], Answer]]]:
        function = self.frames[position].function

        def kept() -> Answer:
            answer = self._resolver.kept(position, Incoming(offset), size)
            return replace(answer, how=f"{function} still has it in {answer.how}")

        def passed() -> Answer:
            return self._resolver.passed_on_stack(position, offset, size)

        return [("the function", kept), ("its caller", passed)]

    def _with_current(self, position: int, argument: Argument) -> Argument:
        if not self._has_debug_file:
            return argument
        from crashkit.arguments.debug_info import current_value

        frame = self.frames[position]
        address = frame.pc - (frame.offset or 0)
        now = current_value(self._prog, frame, argument.name, address)
        return argument if now in (None, argument.value) else replace(argument, current=now)

    def _identified(self, argument: Argument, type_: Type) -> Argument:
        if self._identify is None or strip(type_).kind is not TypeKind.POINTER:
            return argument
        return replace(argument, identity=self._identify(argument.value))


def recover_arguments(
    prog: Program,
    frame: Frame,
    *,
    callers: Sequence[Frame] = (),
    identify: Identify | None = None,
) -> Recovered:
    """Recover what the frame's function was called with.

    :param callers: the frames after it, outward; without them only the frame itself
        is looked at
    :param identify: says what a pointer points at
    :returns: arguments, and the parameters whose value cannot be had; both empty when
        nothing describes the function
    """
    if frame.inlined:
        return (), ()
    return StackArguments(prog, (frame, *callers), identify=identify).of(0)


def register_at_entry(prog: Program, frames: Sequence[Frame], index: int, register: str) -> Answer:
    """What ``register`` held when the function of frame ``frames[index]`` was entered.

    :param frames: a stack, innermost first
    :raises Unavailable: nothing tells any longer, or the frame is an inlined function's
    """
    if frames[index].inlined:
        raise Unavailable(register, Reason.NOT_APPLICABLE, "an inlined function has no entry")
    return StackArguments(prog, frames[index:]).register_at_entry(0, register)


def _size(type_: Type) -> int:
    bare = strip(type_)
    return 8 if bare.kind is TypeKind.POINTER else size_of(bare) or 8


def _missing(name: str, type_: Type, why: Unavailable) -> MissingArgument:
    return MissingArgument(name=name, ctype=type_.type_name(), reason=why.reason, detail=why.detail)


def _most_telling(what: str, problems: list[Unavailable]) -> Unavailable:
    # The caller's reason, asked last, says more than that the function kept no copy,
    # unless there simply is no caller.
    plain = (Reason.NOT_APPLICABLE, Reason.OPTIMIZED_OUT)
    for problem in reversed(problems):
        if problem.reason not in plain:
            return Unavailable(what, problem.reason, problem.detail)
    return Unavailable(what, Reason.OPTIMIZED_OUT, "neither it nor its caller keeps a copy")
