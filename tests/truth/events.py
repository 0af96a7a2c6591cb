"""The kprobe events that a dump still holds, read from the kernel's own ring buffers.

Each is one entry into a function, logged by the guest of a ``truth-…`` scenario: where, with which
stack pointer, with which argument registers. Layout: kernel/trace/ring_buffer.c and
include/linux/ring_buffer.h, `struct kprobe_trace_entry_head` in kernel/trace/trace.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from drgn import FaultError, Object, Program
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.list import hlist_for_each_entry, list_for_each_entry

from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols.lookup import find_symbol, symbol_at

# enum ring_buffer_type.
DATA_MAX, PADDING, TIME_EXTEND, TIME_STAMP = 28, 29, 30, 31
COMMIT_MASK = 0xFFFFF
LINK_FLAGS = 3
PAGE_HEADER = 16
# struct trace_entry, ip, then sp and six registers; in newer dumps also words of the stack.
EVENT = struct.Struct("<HBBiQ7Q")
STACK_WORDS = struct.Struct("<4Q")
NEVER = 1 << 64
"""After every event: none is believed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One entry into a probed function."""

    time: int
    pid: int
    function: int
    """Address of the function's symbol."""
    sp: int
    registers: tuple[int, ...]
    """rdi, rsi, rdx, rcx, r8, r9."""
    stack: tuple[int, ...] = ()
    """The words above the return address: the arguments that have no register."""
    certain: bool = True
    """No other CPU logged an event of the same task at the same time: their order is known."""

    def register(self, name: str) -> int:
        """Value of an argument register on entry."""
        return self.registers[ARGUMENT_REGISTERS.index(name)]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What the log of a guest lacks, as far as the kernel counts it."""

    overrun: int = 0
    """Events that younger ones overwrote."""
    dropped: int = 0
    """Events for which there was no room: nobody knows which."""
    missed: int = 0
    """Entries at which a probe was not run, since another one was under way on that CPU."""
    functions: int = 0
    """Functions with such entries."""
    unordered: int = 0
    """Events at the same time as one of the same task on another CPU."""

    def __str__(self) -> str:
        return (
            f"{self.overrun} overwritten, {self.dropped} dropped, {self.missed} missed in "
            f"{self.functions} functions, {self.unordered} in no known order"
        )


@dataclass(frozen=True, kw_only=True)
class EventLog:
    """All events of a dump, oldest first."""

    events: tuple[Event, ...]
    complete_since: int
    """No buffer that was still filled at the end has lost an event younger than this."""
    missed: frozenset[int]
    """Functions with a probe that the kernel knows it did not run at some entry."""
    stopped: bool = False
    """The log was off at the end, so that CPUs that went on were not followed."""
    losses: Losses = Losses()


def read_events(prog: Program) -> EventLog:
    """Read every trace instance's events.

    :raises LookupError: the kernel has no such tracing
    """
    found: list[tuple[int, Event]] = []
    horizon = overrun = dropped = 0
    stopped = False
    functions: dict[int, int] = {}
    for trace in _instances(prog):
        name = trace.name
        of_sleepers = bool(name) and name.string_() == b"sleepers"
        buffer = trace.array_buffer.buffer
        stopped = stopped or (not of_sleepers and bool(buffer.record_disabled.counter))
        for cpu in for_each_present_cpu(prog):
            one_cpu = buffer.buffers[cpu]
            if not one_cpu:
                continue
            events = list(_cpu_events(prog, one_cpu, functions))
            overwritten = int(one_cpu.overrun.a.counter)
            if events and overwritten and not of_sleepers:
                horizon = max(horizon, events[0].time)
            overrun += overwritten
            dropped += int(one_cpu.commit_overrun.a.counter)
            dropped += int(one_cpu.dropped_events.a.counter)
            found += [(cpu, event) for event in events]
    ordered = in_order(found)
    missed = _missed(prog)
    return EventLog(
        events=ordered,
        complete_since=NEVER if dropped else horizon,
        missed=frozenset(missed),
        stopped=stopped,
        losses=Losses(
            overrun=overrun,
            dropped=dropped,
            missed=sum(missed.values()),
            functions=len(missed),
            unordered=sum(not event.certain for event in ordered),
        ),
    )


def in_order(found: Iterable[tuple[int, Event]]) -> tuple[Event, ...]:
    """Put the events of all CPUs in order of time, and mark those whose order it does not tell.

    A clock that is the same on all CPUs stands still on one that is late.

    :param found: CPU and event, each CPU's oldest first
    """
    cpus: dict[tuple[int, int], set[int]] = {}
    events = sorted(found, key=lambda one: one[1].time)
    for cpu, event in events:
        cpus.setdefault((event.time, event.pid), set()).add(cpu)
    return tuple(
        event if len(cpus[event.time, event.pid]) == 1 else replace(event, certain=False)
        for _, event in events
    )


def _instances(prog: Program) -> Iterator[Object]:
    head = find_symbol(prog, "ftrace_trace_arrays")
    if head is None:
        raise LookupError("no ftrace_trace_arrays")
    lists = Object(prog, "struct list_head", address=head.address)
    yield from list_for_each_entry("struct trace_array", lists.address_of_(), "list")


def _cpu_events(prog: Program, buffer: Object, functions: dict[int, int]) -> Iterator[Event]:
    pages = []
    for page in _pages(prog, buffer):
        base = int(page)
        stamp, commit = struct.unpack("<QQ", prog.read(base, PAGE_HEADER))
        size = commit & COMMIT_MASK
        if size:
            pages.append((stamp, prog.read(base + PAGE_HEADER, size)))
    # A clock that stands still gives many pages one time: their order is the ring's.
    for stamp, content in sorted(pages, key=lambda page: page[0]):
        for time, data in _entries(stamp, content):
            if len(data) not in (EVENT.size, EVENT.size + STACK_WORDS.size):
                continue
            _, _, _, pid, ip, sp, *registers = EVENT.unpack_from(data)
            more = data[EVENT.size :]
            if ip not in functions:
                symbol = symbol_at(prog, ip)
                functions[ip] = symbol.address if symbol else 0
            yield Event(
                time=time,
                pid=pid,
                function=functions[ip],
                sp=sp,
                registers=tuple(registers),
                stack=STACK_WORDS.unpack(more) if more else (),
            )


def _pages(prog: Program, buffer: Object) -> Iterator[Object]:
    # The oldest first. The ring's links carry flags in their low bits; the reader's page is not
    # in the ring, the one that is written to is its youngest.
    yield buffer.reader_page.page
    type_ = prog.type("struct buffer_page *")
    last = at = int(buffer.tail_page)
    while True:
        at = int(Object(prog, type_, at).list.next) & ~LINK_FLAGS
        yield Object(prog, type_, at).page
        if at == last:
            return


def _entries(time: int, content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(content):
        (head,) = struct.unpack_from("<I", content, at)
        kind, delta = head & 31, head >> 5
        second = struct.unpack_from("<I", content, at + 4)[0] if at + 8 <= len(content) else 0
        if kind == TIME_EXTEND:
            time, at = time + (second << 27) + delta, at + 8
        elif kind == TIME_STAMP:
            time, at = (time & ~((1 << 59) - 1)) + (second << 27) + delta, at + 8
        elif kind == PADDING:
            if not delta:
                return
            time, at = time + delta, at + 4 + second
        else:
            size = 4 * kind if kind else second
            start = at + 4 if kind else at + 8
            time += delta
            yield time, content[start : at + 4 + size]
            at += 4 + size


def _missed(prog: Program) -> dict[int, int]:
    # Function to the entries that its probe was not run at.
    table = find_symbol(prog, "kprobe_table")
    if table is None:
        raise LookupError("no kprobe_table")
    heads = Object(prog, "struct hlist_head [64]", address=table.address)
    found: dict[int, int] = {}
    for head in heads:
        for probe in hlist_for_each_entry("struct kprobe", head.address_of_(), "hlist"):
            try:
                lost = int(probe.nmissed)
            except FaultError:
                lost = 1
            symbol = symbol_at(prog, int(probe.addr)) if lost else None
            if symbol:
                found[symbol.address] = found.get(symbol.address, 0) + lost
    return found


def live_activations(events: Sequence[Event], low: int, high: int) -> dict[int, Event]:
    """Return which logged entries had not been left at the end, by stack pointer at entry.

    A later entry at the same or a higher stack pointer means that the function was left, or
    left for another by a tail call; so what remains is the newest chain of entries.

    :param events: oldest first
    :param low: least stack pointer of the stack, and *high* the greatest
    """
    found: dict[int, Event] = {}
    highest = -1
    for event in reversed(events):
        if low <= event.sp <= high and event.sp > highest:
            found[event.sp] = event
            highest = event.sp
    return found
