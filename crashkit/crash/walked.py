"""The stacks of one dump walked so far, and what is asked of their frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial

from drgn import Object, Program

from crashkit import arguments as arguments_
from crashkit.arguments import StackArguments, recover_entry_registers
from crashkit.crash.stack import Stack, crashed_stack, task_stack
from crashkit.crash.thread import Crashed
from crashkit.decode import identify
from crashkit.errors import Reason, Unavailable
from crashkit.oops import Oops
from crashkit.symbols import SymbolAt
from crashkit.unwind import EntryLocation, Frame
from crashkit.value import Certainty

Recovered = tuple[tuple[arguments_.Argument, ...], tuple[arguments_.MissingArgument, ...]]


class Walked:
    """Stacks by task, and by frame: a frame's callers tell what it was called with.

    :ivar recover: the unwinder's callback, remembering what it found
    """

    def __init__(self, prog: Program, *, sources: bool) -> None:
        self._prog = prog
        self._sources = sources
        self._stacks: dict[int, Stack] = {}
        self._places: dict[tuple[int, int], tuple[Stack, int]] = {}
        self._arguments: dict[int, StackArguments] = {}
        self._recovered: dict[tuple[int, int], Recovered] = {}
        self._identify: Callable[[int], str | None] = cache(partial(identify, prog))
        self.recover: Callable[[SymbolAt, int, bool], Mapping[str, EntryLocation]] = cache(
            partial(recover_entry_registers, prog)
        )

    def crashed(self, crashed: Crashed, oops: Callable[[], Oops | None]) -> Stack:
        """Walk the crashed thread's stack, see :func:`crashed_stack`."""
        return crashed_stack(self._prog, crashed, self.recover, sources=self._sources, oops=oops)

    def add(self, stack: Stack) -> Stack:
        """Take in a stack that was walked elsewhere."""
        if stack.thread.task is not None:
            self._stacks[stack.thread.task] = stack
        physical = [frame for frame in stack.frames if not frame.inlined]
        for position, frame in enumerate(physical):
            self._places.setdefault((frame.sp, frame.pc), (stack, position))
        return stack

    def of(self, task: Object) -> Stack:
        """Return a task's stack, walked once."""
        known = self._stacks.get(int(task))
        if known is not None:
            return known
        return self.add(task_stack(self._prog, task, self.recover, sources=self._sources))

    def arguments(self, frame: Frame) -> Recovered:
        """Recover what a frame's function was called with; asked once for each frame."""
        if frame.inlined:
            return (), ()
        key = (frame.sp, frame.pc)
        if key not in self._recovered:
            stack, position = self._place(frame)
            found, missing = self._of_stack(stack).of(position)
            if stack.damage is not None:
                found = tuple(replace(a, certainty=Certainty.INFERRED) for a in found)
            self._recovered[key] = (found, missing)
        return self._recovered[key]

    def register_at_entry(self, frame: Frame, register: str) -> arguments_.Answer:
        """What a register held when the frame's function was entered.

        :raises Unavailable: nothing tells any longer
        """
        if frame.inlined:
            detail = "an inlined function has no entry"
            raise Unavailable(register, Reason.NOT_APPLICABLE, detail)
        stack, position = self._place(frame)
        answer = self._of_stack(stack).register_at_entry(position, register)
        return answer.weaker(stack.damage is None)

    def _place(self, frame: Frame) -> tuple[Stack, int]:
        place = self._places.get((frame.sp, frame.pc))
        if place is None:
            detail = "it is on no stack this crash gave out"
            raise Unavailable(f"frame of {frame.function}", Reason.NOT_APPLICABLE, detail)
        return place

    def _of_stack(self, stack: Stack) -> StackArguments:
        if id(stack) not in self._arguments:  # the stack is kept in _places, its id with it
            self._arguments[id(stack)] = StackArguments(
                self._prog, stack.frames, identify=self._identify
            )
        return self._arguments[id(stack)]
