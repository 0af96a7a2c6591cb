"""Crash: one dump, read lazily; the entry for recipes, scripts and the command line."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property, partial
from types import TracebackType
from typing import Self

from drgn import Object, Program

from crashkit import arguments as arguments_
from crashkit.crash.banner import read_banner
from crashkit.crash.folding import FoldedStack, fold
from crashkit.crash.given import five_level_paging, reported_address, segment_bases
from crashkit.crash.holders import find_holders, with_holders
from crashkit.crash.log_source import log_of
from crashkit.crash.parts import Banner, DebugInfo, FoundObject, Limit, Thread
from crashkit.crash.printed import (
    printed_banner,
    printed_thread,
    with_printed_facts,
    with_printed_modules,
)
from crashkit.crash.raw import words_of
from crashkit.crash.skbs import SkbCandidate, find_skbs
from crashkit.crash.stack import Stack, exception_context
from crashkit.crash.tasks import list_tasks, running_tasks, task_of_pid, task_on_cpu
from crashkit.crash.thread import Crashed, find_crashed, with_context
from crashkit.crash.walked import Walked
from crashkit.decode import identify as identify_object
from crashkit.errors import Reason, Unavailable
from crashkit.fault import Fault, explain_fault, printed_fault
from crashkit.oops import Oops, parse_oops
from crashkit.symbols.attach import Attached, adopt
from crashkit.symbols.lookup import names_of
from crashkit.target import Target, identify, read_text
from crashkit.unwind import Frame

_NO_TYPES = ("symbols", "none")
_TEXT = "there is no dump, only text"


class Crash:
    """A crashed kernel.

    :ivar target: what the file says of itself
    """

    def __init__(self, target: Target, prog: Program | None, attached: Attached) -> None:
        self.target = target
        self._prog = prog
        self._attached = attached
        self._limits: list[Limit] = []
        self.timing: dict[str, float] = {}
        self._started = time.monotonic()

    @classmethod
    def from_program(cls, prog: Program, *, attach: bool = False) -> Self:
        """Wrap a program that the caller opened, e.g. inside drgn.

        The caller's finders are not changed.

        :param attach: append crashkit's finders behind the caller's, for what they lack
        :raises Unavailable: the program has no core dump
        """
        path = prog.core_dump_path
        if path is None:
            raise Unavailable("the dump", Reason.NOT_APPLICABLE, "the program has no core dump")
        target = identify(path)
        return cls(target, prog, adopt(prog, finders=attach))

    @classmethod
    def from_text(cls, target: Target) -> Self:
        """Make a crash of kernel log text alone: ``prog`` raises, ``oops`` is what there is.

        :raises TargetError: the file cannot be read
        """
        crash = cls(target, None, Attached())
        crash._log = read_text(target.readable)
        return crash

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the program and what was read from it."""
        self._prog = None

    @property
    def prog(self) -> Program:
        """The drgn program.

        :raises Unavailable: the input is text
        """
        if self._prog is None:
            raise Unavailable("memory", Reason.NOT_APPLICABLE, _TEXT)
        return self._prog

    @property
    def types(self) -> str:
        """Where names and types come from: ``dwarf hybrid btf symbols none``."""
        return self._attached.level

    @property
    def debuginfo(self) -> tuple[DebugInfo, ...]:
        """Where the names of the kernel and of each module come from."""
        return tuple(
            DebugInfo(module=f.module, status=f.status, path=f.path) for f in self._attached.files
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about what could not be read as it should."""
        return (*self.target.warnings, *self._attached.problems)

    @cached_property
    def banner(self) -> Banner:
        """The fields crash prints above its prompt."""
        if self._prog is None:
            return printed_banner(self.target, self.oops)
        files = {f.module: f.path for f in self._attached.files}
        banner = read_banner(self.prog, self.target, files.get("vmlinux"))
        return with_printed_facts(banner, self.oops, self.thread.cpu)

    @cached_property
    def _log(self) -> str | Unavailable:
        try:
            text, limits = log_of(self.prog, self.target)
        except Unavailable as missing:
            return missing
        self._limits += limits
        return text

    @property
    def log(self) -> str:
        """The kernel log.

        :raises Unavailable: it is not in the dump
        """
        if isinstance(self._log, Unavailable):
            raise self._log
        return self._log

    @cached_property
    def oops(self) -> Oops | None:
        """What the kernel printed of the crash; None when the log has no oops."""
        try:
            return parse_oops(self.log, first_cause=self._prog is None)
        except Unavailable as missing:
            self.lacks("the kernel log", missing, "a dump with the kernel's own pages")
            return None

    @cached_property
    def _crashed(self) -> Crashed | Unavailable:
        if self._prog is None:
            return Unavailable("the crashed thread", Reason.NOT_APPLICABLE, _TEXT)
        try:
            return find_crashed(self.prog, self.target.registers)
        except Unavailable as missing:
            self.lacks("the crashed thread", missing, "the kernel's debug package")
            return missing

    @cached_property
    def _stack(self) -> Stack | Unavailable:
        if isinstance(self._crashed, Unavailable):
            return self._crashed
        try:
            stack = self._walked.crashed(self._crashed, lambda: self.oops)
        except Unavailable as missing:
            self.lacks("the stack trace", missing, "the kernel's debug package")
            return missing
        if stack.reason is not None:
            what = "the stack beyond its last frame"
            self._limits.append(Limit(what=what, reason=stack.reason, remedy=stack.end))
        elif stack.damage is not None:
            what = "what is on the stack is not proved"
            self._limits.append(Limit(what=what, reason=Reason.CORRUPTED, remedy=stack.damage))
        if not names_of(self.prog).modules:
            stack = with_printed_modules(stack, self.oops)
        return self._walked.add(stack)

    @property
    def _has_sources(self) -> bool:
        return self.types in ("dwarf", "hybrid")

    @cached_property
    def _walked(self) -> Walked:
        return Walked(self.prog, sources=self._has_sources)

    def lacks(self, what: str, missing: Unavailable, remedy: str) -> None:
        """Add to ``limits`` what could not be had."""
        self._limits.append(
            Limit(what=f"{what}: {missing.detail}", reason=missing.reason, remedy=remedy)
        )

    @cached_property
    def thread(self) -> Thread:
        """The thread that crashed."""
        if isinstance(self._crashed, Unavailable):
            return printed_thread(self.oops, self._crashed.reason)
        frames = self.frames
        return with_context(
            self._crashed.facts, exception_context(frames, self.fault_frame) if frames else None
        )

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The crashed thread's frames, innermost first; empty when they cannot be had."""
        return () if isinstance(self._stack, Unavailable) else self._stack.frames

    @property
    def fault_frame(self) -> Frame | None:
        """The frame of the faulting instruction; None when no instruction faulted."""
        return None if isinstance(self._stack, Unavailable) else self._stack.fault

    @property
    def outer_frames(self) -> tuple[Frame, ...]:
        """The frames from the faulting one outward; all of them when nothing faulted."""
        if self.fault_frame is None:
            return self.frames
        first = self.frames.index(self.fault_frame)
        while first and self.frames[first - 1].inlined:
            first -= 1
        return self.frames[first:]

    @cached_property
    def fault(self) -> Fault | None:
        """The faulting instruction explained; None when no instruction faulted."""
        if isinstance(self._stack, Unavailable):
            return printed_fault(self.oops) if self.oops else None
        if self.fault_frame is None:
            return None
        try:
            found = explain_fault(
                self.prog,
                self.fault_frame,
                fault_address=reported_address(self.fault_frame, self.oops),
                identify=partial(identify_object, self.prog),
                segment_bases=segment_bases(self.prog, self.thread.cpu),
                five_level=five_level_paging(self.target),
                frames=self.outer_frames,
            )
            return with_holders(self, found)
        except Unavailable as missing:
            self.lacks("the faulting instruction", missing, "the kernel's text pages")
            return None

    @cached_property
    def skbs(self) -> tuple[SkbCandidate, ...]:
        """Socket buffers found on the crashed stack, nearest to the fault first."""
        return find_skbs(self.prog, self.outer_frames) if self._prog is not None else ()

    def skb(self) -> Object:
        """Return the one plausible socket buffer on the crashed stack.

        :returns: ``struct sk_buff *``
        :raises Unavailable: none was found, or several
        """
        if isinstance(self._stack, Unavailable):
            raise self._stack
        found = self.skbs
        if not found:
            raise Unavailable("sk_buff", Reason.NOT_SAVED, "no register on the stack holds one")
        if len(found) > 1:
            listed = ", ".join(f"{candidate.address:016x}" for candidate in found)
            raise Unavailable("sk_buff", Reason.AMBIGUOUS, f"several on the stack: {listed}")
        return Object(self.prog, "struct sk_buff *", found[0].address)

    @cached_property
    def objects(self) -> tuple[FoundObject, ...]:
        """Kernel objects found on the way to the explanation."""
        from crashkit.crash.objects import found_objects

        return found_objects(self)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What the report lacks and what would supply it."""
        return tuple(self._limits)

    @property
    def faulting_function(self) -> str | None:
        """The function of the faulting instruction, by the stack or else by the log."""
        if self.fault_frame is not None:
            return self.fault_frame.function
        return self.fault.symbol if self.fault is not None else None

    def has_frame(self, function: str) -> bool:
        """Whether ``function`` is on the crashed stack, from the fault outward."""
        return any(frame.function == function for frame in self.outer_frames)

    def find_frame(self, *functions: str) -> Frame | None:
        """Find the innermost frame of one of ``functions``, from the fault outward."""
        return next((f for f in self.outer_frames if f.function in functions), None)

    @property
    def crashed_stack(self) -> Stack:
        """The crashed thread's stack; without frames, and with the reason, where it has none."""
        thread = self.thread
        if isinstance(self._stack, Unavailable):
            why = self._stack
            return Stack(thread=thread, running=True, frames=(), end=str(why), reason=why.reason)
        return replace(self._stack, thread=thread)

    def tasks(self) -> tuple[Object, ...]:
        """List every task: idle ones by CPU, then by PID; those that cannot be read left out.

        :returns: ``struct task_struct *`` each
        """
        tasks = list_tasks(self.prog)
        if tasks.problem is not None:
            self.lacks("the list of tasks", tasks.problem, "a dump with all task structures")
        return tuple(tasks.found.values())

    def stack_of(self, task: Object | int) -> Stack:
        """Walk the stack of any task.

        What stands in the way is said by the stack's ``end``, ``reason`` and ``damage``.

        :param task: ``struct task_struct *``, or a PID
        :raises Unavailable: there is no task of that PID
        """
        found = task_of_pid(self.prog, task) if isinstance(task, int) else task
        if not isinstance(self._crashed, Unavailable) and int(self._crashed.task) == int(found):
            return self.crashed_stack
        return self._walked.of(found)

    def stack_on(self, cpu: int) -> Stack:
        """Walk the stack of the task that runs on a CPU.

        :raises Unavailable: there is no such CPU, or what runs there is not in the dump
        """
        return self.stack_of(task_on_cpu(self.prog, cpu))

    def cpu_stacks(self) -> tuple[Stack, ...]:
        """Walk the stack of the task that runs on each CPU."""
        return tuple(self.stack_of(task) for _cpu, task in running_tasks(self.prog))

    def all_stacks(self) -> tuple[FoldedStack, ...]:
        """Walk every task's stack; identical ones are folded into one."""
        return fold(self.stack_of(task) for task in self.tasks())

    def arguments(
        self, frame: Frame
    ) -> tuple[tuple[arguments_.Argument, ...], tuple[arguments_.MissingArgument, ...]]:
        """Recover the arguments the function of ``frame``, on any stack, was called with.

        :raises Unavailable: the frame is not of a stack of this crash
        """
        return self._walked.arguments(frame)

    def register_at_entry(self, frame: Frame, register: str) -> arguments_.Answer:
        """What a register held when the function of ``frame``, on any stack, was entered.

        :param register: full name, e.g. ``rdi``
        :raises Unavailable: nothing tells any longer
        """
        return self._walked.register_at_entry(frame, register)

    def who_holds(self, value: Object | int) -> tuple[arguments_.Holder, ...]:
        """Follow one value through the frames of every CPU: arguments, registers, slots.

        :param value: a pointer or an unsigned number; at most 1000 places are given
        """
        wanted = int(value) & ((1 << 64) - 1)
        stacks = {stack.thread.task: stack for stack in (self.crashed_stack, *self.cpu_stacks())}
        return find_holders(self.prog, self._walked, stacks.values(), wanted)

    def stack_words(self, stack: Stack, position: int) -> tuple[tuple[int, int | None], ...]:
        """Read the words of one frame: (address, word), None for one not in the dump."""
        return words_of(self.prog, stack, position)

    def argument(self, function: str, name: str) -> Object:
        """Return an argument of the innermost call of ``function`` on the crashed stack.

        :raises Unavailable: no such frame or parameter, or its value was not kept
        """
        frame = self.find_frame(function)
        if frame is None:
            raise Unavailable(f"{function}()", Reason.NOT_APPLICABLE, "not on the crashed stack")
        found, missing = self.arguments(frame)
        for argument in found:
            if argument.name == name:
                return Object(self.prog, argument.ctype, argument.value)
        lost = next((m for m in missing if m.name == name), None)
        reason = lost.reason if lost else Reason.NO_DEBUGINFO
        detail = lost.detail if lost else "no such parameter is known"
        raise Unavailable(f"{name} of {function}()", reason, detail)
