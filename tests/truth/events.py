"""The kprobe events that a dump still holds, read from the kernel's own ring buffers.

Each is one entry into a function, logged by the guest of a ``truth-…`` scenario: where, with which
stack pointer, with which argument registers. Layout: kernel/trace/ring_buffer.c and
include/linux/ring_buffer.h, `struct kprobe_trace_entry_head` in kernel/trace/trace.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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

    def register(self, name: str) -> int:
        """Value of an argument register on entry."""
        return self.registers[ARGUMENT_REGISTERS.index(name)]


@dataclass(frozen=True, kw_only=True)
class EventLog:
    """All events of a dump, oldest first."""

    events: tuple[Event, ...]
    complete_since: int
    """No buffer that was still filled at the end has lost an event younger than this."""
    missed: frozenset[int]
    """Functions with a probe that the kernel knows it did not run at some entry."""


def read_events(prog: Program) -> EventLog:
    """Read every trace instance's events.

    :raises LookupError: the kernel has no such tracing
    """
    found: dict[tuple[int, int, int], Event] = {}
    horizon = 0
    functions: dict[int, int] = {}
    for trace in _instances(prog):
        name = trace.name
        of_sleepers = bool(name) and name.string_() == b"sleepers"
        buffer = trace.array_buffer.buffer
        for cpu in for_each_present_cpu(prog):
            one_cpu = buffer.buffers[cpu]
            if not one_cpu:
                continue
            events = list(_cpu_events(prog, one_cpu, functions))
            if events and int(one_cpu.overrun.a.counter) and not of_sleepers:
                horizon = max(horizon, events[0].time)
            for event in events:
                found[event.time, event.sp, event.function] = event
    ordered = tuple(sorted(found.values(), key=lambda event: event.time))
    return EventLog(events=ordered, complete_since=horizon, missed=_missed(prog))


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
    for stamp, content in sorted(pages):
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
    # The ring's links carry flags in their low bits; the reader's page is not in the ring.
    yield buffer.reader_page.page
    type_ = prog.type("struct buffer_page *")
    first = at = int(buffer.tail_page)
    while True:
        page = Object(prog, type_, at)
        yield page.page
        at = int(page.list.next) & ~LINK_FLAGS
        if at == first:
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


def _missed(prog: Program) -> frozenset[int]:
    table = find_symbol(prog, "kprobe_table")
    if table is None:
        raise LookupError("no kprobe_table")
    heads = Object(prog, "struct hlist_head [64]", address=table.address)
    found = set()
    for head in heads:
        for probe in hlist_for_each_entry("struct kprobe", head.address_of_(), "hlist"):
            try:
                lost = int(probe.nmissed)
            except FaultError:
                lost = 1
            symbol = symbol_at(prog, int(probe.addr)) if lost else None
            if symbol:
                found.add(symbol.address)
    return frozenset(found)


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
